"""`webhooks explain`, `list`, `tail` and `top` with a worker and without one."""

import json
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.support.brokers import TestBroker
from tests.support.cluster import Cluster, cluster
from tests.support.program import Webhooks
from tests.support.recorder import Recorder, answer
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(120)

NO_RETRY = {"retry": {"retryOption": "No Retry"}}


@pytest.fixture
async def found(
    broker: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> AsyncIterator[tuple[Cluster, Webhooks]]:
    async with cluster(broker, unique_name("explain"), tmp_path, partitions=2) as each:
        yield each, Webhooks(each.environment)


async def test_explain_works_outside_the_worker_process(found: tuple[Cluster, Webhooks], recorder: Recorder) -> None:
    running, webhooks = found
    await running.start_worker()
    await running.until_ready()
    recorder.behaviours["failing"] = answer(400)
    await running.subscribe(recorder, "failing", endpoint=NO_RETRY)
    await running.produce([("failing", b"{}")] * 3)
    await running.until_row("failing", status="failure")

    said = json.loads(await webhooks.done("explain", "failing", "-o", "json"))
    assert (said["id"], said["state"], said["cause"]["kind"]) == ("failing", "failure", "rejected")
    text, resume, skip = (await webhooks.done("explain", "failing")).splitlines()
    assert text.startswith("failing is in FAILURE in partition ")
    assert " (1 attempt). " in text
    assert [resume.strip(), skip.strip()] == said["commands"]
    recorder.behaviours["failing"] = answer(200)
    await webhooks.done(*resume.split()[1:])
    await recorder.until_events(3)


async def test_explain_names_a_receiver_that_rejects_everything(
    broker: TestBroker, unique_name: Callable[[str], str], tmp_path: Path, recorder: Recorder
) -> None:
    async with cluster(broker, unique_name("rejects"), tmp_path, partitions=2, dlq=True) as running:
        webhooks = Webhooks(running.environment)
        await running.start_worker()
        await running.until_ready()
        recorder.behaviours["rejects"] = answer(401)
        await running.subscribe(recorder, "rejects", endpoint=NO_RETRY)
        await running.produce([("rejects", b"{}")] * 3)
        await recorder.until_events(3)

        said = ""

        async def is_named() -> bool:
            nonlocal said
            said = await webhooks.done("explain", "rejects")
            return "Its last 3 events were dead-lettered" in said

        await eventually(is_named, within_seconds=30, says=lambda: said)
        text, command = said.splitlines()
        assert text.startswith("rejects is live. ")
        assert ": the callback answered 401). See `webhooks dlq list --subscription rejects`. " in text
        assert "There is nothing to do" not in text
        letters = await webhooks.done(*command.split()[1:])
        assert letters.count("rejected") >= 3

        top = json.loads(await webhooks.done("top", "--once", "-o", "json"))
        assert [(each["id"], each["state"], each["deadLetters"]["count"]) for each in top["subscriptions"]] == [
            ("rejects", "live", 3)
        ]
        refused = ("subscriptions", "list", "--cause", "all-dead-lettered")
        assert "  3 dead-lettered: answered 401\n" in await webhooks.done(*refused)
        recorder.behaviours["rejects"] = answer(200)
        await running.produce([("rejects", b"{}")])

        async def is_well() -> bool:
            return "rejects" not in await webhooks.done(*refused)

        await eventually(is_well, within_seconds=30, says=lambda: "it is still listed")


async def test_without_a_worker_explain_says_what_is_unknown(
    found: tuple[Cluster, Webhooks], recorder: Recorder
) -> None:
    running, webhooks = found
    await running.subscribe(recorder, "idle", status="PAUSED")
    ended = await webhooks.run("explain", "idle")
    assert ended.code == 0
    assert ended.out == (
        "idle is paused by its publisher. The number of waiting events is unknown. "
        "Resume it when its events may be sent:\n"
        "  webhooks subscriptions resume idle\n"
    )
    unknown = await webhooks.run("explain", "nobody")
    assert (unknown.code, unknown.out) == (1, "")
    assert "Error: there is no subscription" in unknown.err


async def test_the_list_has_the_same_filters_as_the_api(found: tuple[Cluster, Webhooks], recorder: Recorder) -> None:
    running, webhooks = found
    await running.subscribe(recorder, "on")
    await running.subscribe(recorder, "off", status="PAUSED")
    host = recorder.url("x").split("/")[2]

    async def listed(*words: str) -> list[str]:
        return [each["id"] for each in json.loads(await webhooks.done("subscriptions", "list", *words, "-o", "json"))]

    assert await listed("--state", "paused", "--host", host) == ["off"]
    assert await listed("--host", "elsewhere.example:443") == []
    assert await listed("--cause", "rejected") == []
    assert sorted(await listed("--host", host)) == ["off", "on"]
    assert (await webhooks.run("subscriptions", "list", "--state", "wrong")).code == 2


async def test_tail_and_top_show_attempts_and_workers(
    broker: TestBroker, unique_name: Callable[[str], str], tmp_path: Path, recorder: Recorder
) -> None:
    async with cluster(broker, unique_name("tail"), tmp_path, partitions=2) as running:
        webhooks = Webhooks(running.environment)
        await running.start_worker()
        await running.until_ready()
        recorder.behaviours["failing"] = answer(400)
        await running.subscribe(recorder, "failing", endpoint=NO_RETRY)
        await running.produce([("failing", b"{}")])
        await running.until_row("failing", status="failure")
        async with webhooks.start("tail", "failing", "--since", "1h", "--failures") as tail:
            await tail.line("  failure  400  ", within_seconds=60.0)
            seen = len(tail.output)
            await webhooks.done("subscriptions", "resume", "failing")
            again = await tail.line("  failure  400  ", after=seen, within_seconds=60.0)
            assert "  failing  " in again
            assert await tail.stop(signal.SIGTERM) == 0

        await running.until_row("failing", status="failure")
        top = json.loads(await webhooks.done("top", "--once", "-o", "json"))
        assert [worker["ready"] for worker in top["workers"]] == [True]
        assert [(each["id"], each["state"]) for each in top["subscriptions"]] == [("failing", "failure")]
