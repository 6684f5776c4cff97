"""`webhooks console` shows the whole cluster from a process that delivers nothing and is in no group."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from tests.broker.test_cluster_view import NO_RETRY
from tests.support.brokers import TestBroker
from tests.support.cluster import Cluster, cluster
from tests.support.free_ports import free_port
from tests.support.recorder import Recorder, answer
from tests.support.waiting import eventually
from tests.support.worker import ADMIN_TOKEN, Worker

pytestmark = pytest.mark.timeout(120)


@asynccontextmanager
async def console(found: Cluster) -> AsyncIterator[Worker]:
    """A running console of a cluster."""
    port, log = free_port(), found.folder / "console.log"
    variables = os.environ | found.environment | {"WEBHOOKS_WEB_PORT": str(port)}
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("webhooks")), "console", env=variables, stdout=output, stderr=output
        )
    running = Worker(process, port, log)
    try:
        yield running
    finally:
        await running.kill()


async def resume(running: Worker, name: str) -> int:
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    address = f"http://127.0.0.1:{running.port}/api/subscriptions/{name}/_resume"
    async with aiohttp.ClientSession(headers=headers) as session, session.post(address) as response:
        return response.status


async def groups(kafka: TestBroker) -> set[str]:
    admin = AIOKafkaAdminClient(**kafka.connection.client_options())
    await admin.start()
    try:
        return {name for name, _ in await admin.list_consumer_groups()}
    finally:
        await admin.close()


async def test_a_console_shows_the_cluster_and_delivers_nothing(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path, recorder: Recorder
) -> None:
    async with cluster(kafka, unique_name("console"), tmp_path, partitions=2) as found, console(found) as running:
        recorder.behaviours["failing"] = answer(400)
        await found.subscribe(recorder, "healthy")
        await found.subscribe(recorder, "failing", endpoint=NO_RETRY)
        await found.start_worker()
        await found.until_ready()
        await found.produce([("healthy", b"{}"), ("failing", b"{}")])
        await recorder.until_events(2)

        said: dict[str, Any] = {}

        async def is_known() -> bool:
            said.update(await running.get("/api/cluster") or {})
            totals = said.get("totals", {})
            return (totals.get("live"), totals.get("failure"), len(said["workers"])) == (1, 1, 1)

        await eventually(is_known, within_seconds=30, says=lambda: f"{said} {running.output()}")
        await eventually(running.is_ready, within_seconds=30, says=running.output)
        assert "the callback answered 400" in await running.text("/")
        assert 'href="/worker"' not in await running.text("/workers")
        # A change from a process that delivers nothing.
        recorder.behaviours.clear()
        assert await resume(running, "failing") == 200
        await recorder.until_events(2)
        assert found.app in await groups(kafka)
        assert not any(name.startswith(f"{found.app}-console") for name in await groups(kafka))
        assert await running.terminate() == 0


async def test_a_console_serves_pages_while_counts_are_unknown(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    """An orchestrator sends no requests to a process that is not ready, so its pages could not show the reason."""
    async with cluster(kafka, unique_name("console"), tmp_path, partitions=2) as found:
        # Without the topic of announcements, the number of waiting events is unknown.
        await found.start_worker(program="mute_worker.py")
        await found.until_ready()
        async with console(found) as running:
            said: dict[str, Any] = {}

            async def says_what_is_not_known() -> bool:
                said.update(await running.get("/health/ready") or {})
                return bool(said.get("ready") and said.get("warnings"))

            await eventually(says_what_is_not_known, within_seconds=60, says=lambda: f"{said} {running.output()}")
            assert said["reasons"] == []
