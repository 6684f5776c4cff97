"""A worker stops on a signal, whatever its broker does."""

import asyncio
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web

from tests.support.brokers import TestBroker
from tests.support.cluster import cluster
from tests.support.recorder import Call, recording
from tests.support.waiting import eventually

STOP_SECONDS = 50.0
"""A limit shorter than the 60 s that service managers wait in deploy/."""


@pytest.mark.timeout(150)
async def test_a_worker_stops_while_its_broker_is_unavailable(
    embedded: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    assert embedded.mock is not None
    async with recording() as recorder, cluster(embedded, unique_name("stop"), tmp_path) as found:
        await found.subscribe(recorder, "sub-1")
        worker = await found.start_worker()
        await found.until_ready()
        await found.produce([("sub-1", b"%d" % number) for number in range(500)])
        await recorder.until_events(100)
        embedded.mock.down()
        assert await worker.terminate(STOP_SECONDS) == 0
        embedded.mock.up()


async def test_a_worker_that_drains_is_live_and_not_ready(
    embedded: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    answered = asyncio.Event()

    async def answer_late(_: Call) -> web.Response:
        await answered.wait()
        return web.Response()

    async with recording() as recorder, cluster(embedded, unique_name("drain"), tmp_path) as found:
        recorder.behaviours["sub-1"] = answer_late
        await found.subscribe(recorder, "sub-1")
        worker = await found.start_worker(drain_seconds="20")
        await found.until_ready()
        await found.produce([("sub-1", b"one")])
        await recorder.until_events(1)
        worker.send_signal(signal.SIGTERM)

        async def is_not_ready() -> bool:
            return not await worker.is_ready()

        await eventually(is_not_ready, within_seconds=15, says=worker.output)
        assert (await worker.get("/health/ready"))["reasons"] == ["the worker is stopping: it drains its partitions"]
        assert (await worker.get("/health/live"))["live"]
        answered.set()
        async with asyncio.timeout(STOP_SECONDS):
            assert await worker.process.wait() == 0
        assert recorder.repeated() == {}


async def test_a_port_taken_during_the_start_is_reported_in_one_line(
    embedded: TestBroker, unique_name: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The port is not checked before the start. This stands for a port that is taken right after the check."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr("tests.support.cluster.free_port", lambda: port)
        async with cluster(embedded, unique_name("port"), tmp_path) as found:
            worker = await found.start_worker()
            async with asyncio.timeout(STOP_SECONDS):
                assert await worker.process.wait() == 1
    assert f"WEBHOOKS_WEB_PORT: 127.0.0.1:{port} can't be bound: address already in use; use another" in worker.output()
    assert "Traceback" not in worker.output()
