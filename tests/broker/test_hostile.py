"""Hostile input affects only its sender: two workers on a real Kafka continue with all other events."""

import asyncio
import base64
import json
import resource
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pipeline.core.errors import ConfigurationError
from pipeline.subscriptions.edits import RESUME
from tests.support.brokers import TestBroker
from tests.support.cluster import Cluster, cluster
from tests.support.costly_stores import store
from tests.support.recorder import Recorder, recording
from tests.support.waiting import eventually
from tests.support.worker import Worker

HEALTHY = [f"healthy-{number}" for number in range(8)]

pytestmark = pytest.mark.timeout(150)


@asynccontextmanager
async def two_workers(kafka: TestBroker, name: str, folder: Path) -> AsyncIterator[tuple[Cluster, Recorder]]:
    """Two workers, and eight healthy subscriptions."""
    async with recording() as recorder, cluster(kafka, name, folder, partitions=2) as found:
        await found.subscribe(recorder, *HEALTHY)
        for _ in range(2):
            await found.start_worker()
        await found.until_ready()
        yield found, recorder


async def delivers(found: Cluster, recorder: Recorder, count: int = 200) -> None:
    """Return when *count* more events of the healthy subscriptions have arrived."""
    before = len({call.webhook_id for call in recorder.calls})
    await found.produce((HEALTHY[number % len(HEALTHY)], b"event %d" % number) for number in range(count))
    await recorder.until_events(before + count)


async def metric(found: Cluster, line: str) -> float:
    """The sum of a series over all workers."""
    texts = [await worker.text("/metrics") for worker in found.workers]
    values = [each.rpartition(" ")[2] for text in texts for each in text.splitlines() if each.startswith(f"{line} ")]
    return sum(map(float, values))


async def test_a_key_of_a_megabyte_harms_no_worker(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    async with two_workers(kafka, unique_name("key"), tmp_path) as (found, recorder):
        await delivers(found, recorder)
        rebalances = await metric(found, "webhooks_rebalances_total")
        for partition in range(2):
            await found.produce([("-eyJ" * 250_000, b"x")], partition=partition)
        await delivers(found, recorder)

        async def is_counted() -> bool:
            return await metric(found, 'webhooks_dropped_total{rule="undecodable"}') == 2

        await eventually(is_counted, within_seconds=30, says=lambda: found.workers[0].output()[-3000:])
        assert await metric(found, "webhooks_rebalances_total") == rebalances
        assert all([await worker.is_ready() for worker in found.workers])
        assert all(max(map(len, worker.output().splitlines())) < 5000 for worker in found.workers)


async def test_a_costly_store_affects_only_its_subscription(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    async with two_workers(kafka, unique_name("store"), tmp_path) as (found, recorder):
        await delivers(found, recorder)
        rounds = 2**31 - 1
        trust = {"type": "PKCS12", "content": base64.b64encode(store(rounds)).decode(), "password": "x"}
        with pytest.raises(ConfigurationError, match=f"asks for {rounds} rounds of key derivation"):
            await found.subscribe(recorder, "hostile", endpoint={"ssl": {"trustStore": trust}})
        # The document is written directly to the topic, not with the command. A worker that starts reads it again.
        options = {"callbackUrl": recorder.url("hostile"), "ssl": {"trustStore": trust}}
        document = {"id": "hostile", "configuration": {"entrypointConfiguration": options}}
        await kafka.produce(f"{found.app}.subscriptions", (b"hostile", json.dumps(document).encode()))
        await delivers(found, recorder)
        await found.workers[0].terminate()
        await found.start_worker()
        await found.until_ready(*found.workers[1:])
        await found.produce([("hostile", b"x")])
        await delivers(found, recorder)

        async def is_told() -> bool:
            lanes = [lane for worker in found.workers[1:] for lane in await worker.lanes()]
            return any(
                lane["subscription"] == "hostile"
                and lane["status"] == "failure"
                and f"asks for {rounds} rounds" in lane["cause"]["message"]
                for lane in lanes
            )

        await eventually(is_told, within_seconds=30, says=lambda: found.workers[1].output()[-3000:])
        assert not recorder.of("hostile")


GARBAGE = {
    "garbage-0": b'{"next":1e400}',
    "garbage-1": b"[" * 50_000,
    "garbage-2": b'{"next":-5}',
    "garbage-3": b'{"next":100000000000000000000}',
    "garbage-4": b'{"cause":{"message":["x"],"at":"never"}}',
}


async def test_an_invalid_row_stops_only_its_lane(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    async with two_workers(kafka, unique_name("garbage"), tmp_path) as (found, recorder):
        await found.subscribe(recorder, *GARBAGE)
        await delivers(found, recorder)
        for worker in found.workers:
            await worker.terminate()
        for name, row in GARBAGE.items():
            await kafka.produce(f"{found.app}.cursors", (name.encode(), row), partition=0)
        await kafka.produce(f"{found.app}.cursors", (b"\xff", b"{}"), partition=0)
        worker = await found.start_worker()
        await found.until_ready(worker)
        await found.produce([(name, b"x") for name in GARBAGE], partition=0)
        await delivers(found, recorder)

        lanes = {lane["subscription"]: lane for lane in await worker.lanes()}
        for name in GARBAGE:
            assert lanes[name]["status"] == "failure"
            assert lanes[name]["cause"]["message"].startswith("its cursor row can't be read: it")
        assert not [name for name in GARBAGE if recorder.of(name)]
        failures = await worker.text("/metrics")
        assert f'webhooks_subscription_failures_total{{kind="cursor"}} {len(GARBAGE)}.0' in failures

        await found.store.edit("garbage-0", RESUME)
        await recorder.until(lambda: bool(recorder.of("garbage-0")))


def open_files(worker: Worker) -> int:
    """The number of open file descriptors of a worker."""
    return sum(1 for _ in Path(f"/proc/{worker.process.pid}/fd").iterdir())


async def test_incomplete_page_requests_do_not_use_up_open_files(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    async with recording() as recorder, cluster(kafka, unique_name("half"), tmp_path, partitions=2) as found:
        await found.subscribe(recorder, *HEALTHY)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        worker = await found.start_worker(max_in_flight="256")
        resource.prlimit(worker.process.pid, resource.RLIMIT_NOFILE, (1024, 1024))
        await found.until_ready()
        halves = []
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
            for _ in range(1300):
                _, writer = await asyncio.open_connection("127.0.0.1", worker.port)
                writer.write(b"GET /health/live HTTP/1.1\r\nHost: x\r\n")
                halves.append(writer)
            await delivers(found, recorder)
            assert await worker.text("/health/live") == '{"live": true, "reasons": []}'
            assert open_files(worker) < 400
        finally:
            for writer in halves:
                writer.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert "connections: a client sent no complete request or left an answer unread" in worker.output()
