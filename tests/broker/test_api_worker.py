"""The JSON API of worker processes, on each kind of broker: repairing an outage, and the OpenAPI description."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.brokers import TestBroker
from tests.support.cluster import Cluster, cluster
from tests.support.recorder import Recorder, accept, answer
from tests.support.waiting import eventually
from tests.support.worker import ADMIN_TOKEN, Worker

pytestmark = pytest.mark.timeout(300)

BEARER = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
NO_RETRY = {"retry": {"retryOption": "No Retry"}}
NAMES = [f"sub-{number}" for number in range(6)]


@pytest.fixture
async def running(broker: TestBroker, unique_name: Callable[[str], str], tmp_path: Path) -> AsyncIterator[Cluster]:
    """A cluster with one worker, at-least-once, and without a dead-letter topic."""
    async with cluster(broker, unique_name("api"), tmp_path) as found:
        await found.start_worker()
        await found.until_ready()
        yield found


async def call(worker: Worker, method: str, path: str, body: Any = None) -> Any:
    """Call the API of a worker."""
    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{worker.port}", headers=BEARER) as session,
        session.request(method, path, json=body) as response,
    ):
        found = await response.json(content_type=None)
        assert response.status in {200, 201}, found
        return found


async def test_an_outage_is_found_and_repaired_with_one_action(running: Cluster, recorder: Recorder) -> None:
    [worker] = running.workers
    for name in NAMES:
        recorder.behaviours[name] = answer(410)
    await running.subscribe(recorder, *NAMES, endpoint=NO_RETRY)
    await running.produce([(name, b"{}") for name in NAMES])

    async def has_failed() -> bool:
        return int((await call(worker, "GET", "/api/subscriptions?state=failure"))["total"]) == len(NAMES)

    await eventually(has_failed, within_seconds=60, says=lambda: "not all are shown in FAILURE")
    [group] = (await call(worker, "GET", "/api/failures"))["groups"]
    assert (group["count"], group["kind"], group["ids"]) == (len(NAMES), "gone", NAMES)
    for name in NAMES:
        recorder.behaviours[name] = accept
    outage = {"action": "resume", "filter": {"cause": [group["kind"]], "host": group["host"]}}
    done = await call(worker, "POST", "/api/subscriptions/_bulk", outage)
    assert (done["matched"], done["changed"], done["problems"]) == (len(NAMES), len(NAMES), [])
    await recorder.until(lambda: len(recorder.calls) == 2 * len(NAMES))

    async def is_well() -> bool:
        return int((await call(worker, "GET", "/api/cluster"))["totals"]["live"]) == len(NAMES)

    await eventually(is_well, within_seconds=60, says=lambda: "not all are shown live")

    async def needs_nothing() -> bool:
        again = await call(worker, "POST", "/api/subscriptions/_bulk", {**outage, "filter": {"all": True}})
        return bool(again["unchanged"] == len(NAMES))

    await eventually(needs_nothing, within_seconds=60, says=lambda: "a live subscription still gets a new revision")

    async def is_told() -> bool:
        event = await call(worker, "GET", f"/api/events/{recorder.calls[-1].webhook_id}")
        return [each["fate"] for each in event["items"]] == ["delivered"]

    await eventually(is_told, within_seconds=60, says=lambda: "the event is not reported as delivered")
    entries = (await call(worker, "GET", f"/api/subscriptions/{NAMES[0]}/attempts"))["items"]
    assert [each.get("status") for each in entries if each.get("decision") == "failure"] == [410]


async def test_a_skip_through_the_api_skips_an_event(running: Cluster, recorder: Recorder) -> None:
    [worker] = running.workers
    recorder.behaviours["sub-0"] = answer(400)
    await running.subscribe(recorder, "sub-0")
    await running.produce([("sub-0", b"a"), ("sub-0", b"b")], partition=1)
    await recorder.until(lambda: len(recorder.calls) == 1)

    async def has_failed() -> bool:
        shown = await call(worker, "GET", "/api/subscriptions/sub-0")
        return bool(shown["delivery"]["state"] == "failure")

    await eventually(has_failed, within_seconds=60, says=lambda: "the failure is not shown")
    recorder.behaviours["sub-0"] = accept
    [lane] = (await call(worker, "GET", "/api/subscriptions/sub-0"))["delivery"]["lanes"]
    where = {"partition": lane["partition"], "offset": lane["next"]}
    done = await call(worker, "POST", "/api/subscriptions/sub-0/_skip", where)
    assert [each["sentence"] for each in done["partitions"]] == [f"skips the event at {lane['next']}"]
    await recorder.until(lambda: len(recorder.calls) == 2)
    assert [each.body for each in recorder.calls] == [b"a", b"b"]


UNTOLD = (
    "positive_data_acceptance",  # a schema can't express all rules, such as which topics exist
    "ignored_auth",  # wrong tokens are answered with 429 after a few
    "allow_header_conformance",  # /api/subscriptions/_bulk is also the path of a subscription with that id
)


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
async def test_the_api_agrees_with_its_description(running: Cluster, tmp_path: Path) -> None:
    [worker] = running.workers
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        f"http://127.0.0.1:{worker.port}/api/openapi.json",
        f"--header=Authorization: {BEARER['Authorization']}",
        "--phases=coverage,fuzzing",
        "--max-examples=5",
        f"--exclude-checks={','.join(UNTOLD)}",
        "--request-timeout=60",
        "--seed=1",
        "--no-color",
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()[-5000:]
    assert "web.problem" not in worker.output(), "the worker has logged an unexpected error"
