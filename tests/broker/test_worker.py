"""What a worker does with its subscriptions, on each kind of broker, observed in calls, topics and the web view."""

import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web

from pipeline.core.model import Status
from pipeline.subscriptions.edits import PAUSE, RESUME, going_on_from
from tests.support.batches import Written, batch
from tests.support.brokers import TestBroker
from tests.support.cluster import Cluster, cluster
from tests.support.program import Webhooks
from tests.support.recorder import Behaviour, Call, Recorder, accept, answer, hang
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(120)

RETRY_SOON = {
    "retry": {"retryOption": "Retry On Fail", "initialDelaySeconds": 1, "maxDelaySeconds": 1, "maxAttempts": 3}
}
NO_RETRY = {"retry": {"retryOption": "No Retry"}}


@pytest.fixture
async def plain(broker: TestBroker, unique_name: Callable[[str], str], tmp_path: Path) -> AsyncIterator[Cluster]:
    """A cluster with one worker, at-least-once, and without a dead-letter topic."""
    async with cluster(broker, unique_name("plain"), tmp_path, settings={"HOLD_SECONDS": "1"}) as found:
        await found.start_worker()
        await found.until_ready()
        yield found


@pytest.fixture
async def lenient(broker: TestBroker, unique_name: Callable[[str], str], tmp_path: Path) -> AsyncIterator[Cluster]:
    """A cluster with one worker and a dead-letter topic, whose subscriptions never go into FAILURE."""
    async with cluster(
        broker,
        unique_name("lenient"),
        tmp_path,
        dlq=True,
        interruptConsumptionOnServerError=False,
        interruptConsumptionOnException=False,
    ) as found:
        await found.start_worker()
        await found.until_ready()
        yield found


def failing(times: int, status: int = 503) -> Behaviour:
    """Answer *status* for the given number of times, then 200."""
    left = times

    async def behave(_: Call) -> web.Response:
        nonlocal left
        left -= 1
        return web.Response(status=status if left >= 0 else 200)

    return behave


async def test_events_arrive_in_order_with_their_body_and_id(plain: Cluster, recorder: Recorder) -> None:
    await plain.subscribe(recorder, "sub-1", "sub-2")
    await plain.produce([("sub-1", b"a"), ("sub-2", b"b"), ("sub-1", None), ("sub-1", b"d")])
    await recorder.until_events(4)
    calls = recorder.of("sub-1")
    assert [call.body for call in calls] == [b"a", b"", b"d"]
    assert [call.attempt for call in calls] == [1, 1, 1]
    assert all(call.webhook_id.startswith(f"{plain.topic}-") for call in calls)
    assert [call.body for call in recorder.of("sub-2")] == [b"b"]


async def test_a_retry_has_the_same_id_and_precedes_the_next_event(plain: Cluster, recorder: Recorder) -> None:
    recorder.behaviours["sub-1"] = failing(2)
    await plain.subscribe(recorder, "sub-1", endpoint=RETRY_SOON)
    await plain.produce([("sub-1", b"a"), ("sub-1", b"b")])
    await recorder.until_events(2)
    assert [(call.body, call.attempt) for call in recorder.calls] == [(b"a", 1), (b"a", 2), (b"a", 3), (b"b", 1)]
    assert len({call.webhook_id for call in recorder.calls[:3]}) == 1


async def test_without_dead_letters_a_rejection_causes_a_failure(plain: Cluster, recorder: Recorder) -> None:
    recorder.behaviours["sub-1"] = answer(400)
    await plain.subscribe(recorder, "sub-1", "sub-2")
    await plain.produce([("sub-1", b"a"), ("sub-1", b"b"), ("sub-2", b"c")])
    row = await plain.until_row("sub-1", status=Status.FAILURE)
    await recorder.until(lambda: len(recorder.of("sub-2")) == 1)
    assert row.cause is not None
    assert (row.cause.kind, row.cause.message) == ("rejected", "the callback answered 400")
    assert row.next == row.cause.offset == recorder.of("sub-1")[0].offset
    assert [call.body for call in recorder.of("sub-1")] == [b"a"], "a subscription in FAILURE is left alone"

    recorder.behaviours["sub-1"] = accept
    await plain.store.edit("sub-1", RESUME)
    await recorder.until(lambda: len(recorder.of("sub-1")) == 3)
    assert [call.body for call in recorder.of("sub-1")] == [b"a", b"a", b"b"]


async def test_a_skip_skips_the_failing_event(plain: Cluster, recorder: Recorder) -> None:
    async def refuse_a(call: Call) -> web.Response:
        return web.Response(status=400 if call.body == b"a" else 200)

    recorder.behaviours["sub-1"] = refuse_a
    await plain.subscribe(recorder, "sub-1")
    await plain.produce([("sub-1", b"a"), ("sub-1", b"b")], partition=2)
    row = await plain.until_row("sub-1", status=Status.FAILURE)
    await plain.store.edit("sub-1", going_on_from({"skip": {"partition": 2, "offset": row.next}}))
    await recorder.until(lambda: len(recorder.calls) == 2)
    assert [call.body for call in recorder.calls] == [b"a", b"b"]


async def test_a_replay_sends_everything_again_from_an_offset(plain: Cluster, recorder: Recorder) -> None:
    await plain.subscribe(recorder, "sub-1", "sub-2")
    await plain.produce([("sub-1", b"%d" % number) for number in range(5)] + [("sub-2", b"x")], partition=1)
    await recorder.until_events(6)
    await plain.store.edit("sub-1", going_on_from({"partition": 1, "offset": 2}))
    await recorder.until(lambda: len(recorder.calls) == 9)
    assert [call.body for call in recorder.of("sub-1")] == [b"0", b"1", b"2", b"3", b"4", b"2", b"3", b"4"]
    await plain.produce([("sub-1", b"5")], partition=1)
    await recorder.until(lambda: len(recorder.calls) == 10)
    assert recorder.calls[-1].body == b"5"


async def test_events_that_arrive_during_a_pause_are_sent_afterwards(plain: Cluster, recorder: Recorder) -> None:
    await plain.subscribe(recorder, "sub-1", "sub-2")
    await plain.produce([("sub-1", b"0")])
    await recorder.until_events(1)
    await plain.store.edit("sub-1", PAUSE)
    await plain.produce([("sub-1", b"%d" % number) for number in range(1, 30)] + [("sub-2", b"x")])
    await plain.until_row("sub-1", status=Status.PAUSED)
    await recorder.until(lambda: len(recorder.of("sub-2")) == 1)
    assert len(recorder.of("sub-1")) == 1
    await plain.store.edit("sub-1", RESUME)
    await recorder.until_events(31)
    assert [call.body for call in recorder.of("sub-1")] == [b"%d" % number for number in range(30)]


async def test_a_hanging_receiver_delays_no_other_subscription(plain: Cluster, recorder: Recorder) -> None:
    """In one partition, other subscriptions continue and later offsets are committed. Finally all events arrive."""
    recorder.behaviours["stuck"] = hang
    await plain.subscribe(recorder, "stuck", "sub-1", "sub-2", endpoint={**NO_RETRY})
    events = [(name, b"%d" % number) for number in range(300) for name in ("stuck", "sub-1", "sub-2")]
    await plain.produce(events, partition=0)
    await recorder.until(lambda: len(recorder.of("sub-1")) == len(recorder.of("sub-2")) == 300)

    await plain.until_row("stuck")
    committed: dict[int, int] = {}

    async def is_past() -> bool:
        committed.update(await plain.broker.committed(plain.app, plain.topic))
        return committed.get(0, 0) == 900

    await eventually(is_past, within_seconds=20, says=lambda: f"committed {committed}")
    assert len(recorder.of("stuck")) == 1

    recorder.behaviours["stuck"] = accept
    await plain.until_row("stuck", status=Status.FAILURE)
    await plain.store.edit("stuck", RESUME)
    await recorder.until(lambda: len(recorder.of("stuck")) == 301)
    bodies = [call.body for call in recorder.of("stuck")]
    assert bodies == [b"0"] + [b"%d" % number for number in range(300)], "the event that timed out, then all in order"


async def test_rejected_events_are_dead_lettered_and_others_continue(lenient: Cluster, recorder: Recorder) -> None:
    statuses = {b"a": 400, b"b": 200, b"c": 500, b"d": 200}

    async def judge(call: Call) -> web.Response:
        return web.Response(status=statuses[call.body], text=f"no to {call.body.decode()}")

    recorder.behaviours["sub-1"] = judge
    await lenient.subscribe(recorder, "sub-1", endpoint=NO_RETRY)
    await lenient.produce([("sub-1", body) for body in statuses])
    await recorder.until_events(4)
    dead = await lenient.broker.wait_for(f"{lenient.app}-dlq", 2)
    headers = [dict(record.headers) for record in dead]
    assert [record.value for record in dead] == [b"a", b"c"]
    assert [record.key for record in dead] == [b"sub-1", b"sub-1"]
    assert [(found["dlq.reason"], found["dlq.status"]) for found in headers] == [
        (b"rejected", b"400"),
        (b"server-error", b"500"),
    ]
    assert headers[0]["dlq.response"] == b"no to a"
    assert headers[0]["dlq.webhook-id"].decode() == recorder.calls[0].webhook_id


async def test_a_redrive_keeps_the_first_id_which_can_t_be_forged(
    broker: TestBroker, unique_name: Callable[[str], str], tmp_path: Path, recorder: Recorder
) -> None:
    recorder.behaviours["sub-1"] = failing(1, status=400)
    async with cluster(broker, unique_name("redriven"), tmp_path, dlq=True, settings={"LOG_LEVEL": "DEBUG"}) as found:
        worker = await found.start_worker()
        await found.until_ready()
        webhooks = Webhooks({**found.environment, "WEBHOOKS_LOG_LEVEL": "INFO"})
        await found.subscribe(recorder, "sub-1", endpoint=NO_RETRY)
        await found.produce([("sub-1", b"a")])
        (dead,) = await found.broker.wait_for(f"{found.app}-dlq", 1)
        await webhooks.done("dlq", "redrive")
        await recorder.until(lambda: len(recorder.calls) == 2)

        first = dict(dead.headers)["dlq.webhook-id"].decode()
        assert [(call.body, call.webhook_id) for call in recorder.calls] == [(b"a", first)] * 2
        line = rf"delivery\.attempted .* webhook_id={first} attempt=1 outcome=delivered"

        async def is_logged() -> bool:
            return re.search(line, worker.output()) is not None

        await eventually(is_logged, within_seconds=10, says=worker.output)

        seal = dict(dead.headers)["dlq.seal"].decode()
        headers = ("-H", f"dlq.webhook-id:{first}", "-H", f"dlq.seal:{seal}")
        place = (await webhooks.done("send", "sub-1", "b", *headers)).strip()
        await recorder.until(lambda: len(recorder.calls) == 3)
        assert recorder.calls[2].webhook_id == place != first


async def test_events_of_unknown_subscriptions_are_dead_lettered(lenient: Cluster, recorder: Recorder) -> None:
    await lenient.broker.produce(lenient.topic, (b"nobody", b"a"), (b"\xff", b"b"), (None, b"c"), partition=0)
    dead = await lenient.broker.wait_for(f"{lenient.app}-dlq", 3)
    reasons = {record.value: dict(record.headers)["dlq.reason"] for record in dead}
    assert reasons == {b"a": b"unknown-subscription", b"b": b"undecodable", b"c": b"undecodable"}
    assert recorder.calls == []


@pytest.mark.parametrize("codec", ["none", "lz4"])
async def test_a_binary_header_name_is_left_out(lenient: Cluster, recorder: Recorder, codec: str) -> None:
    recorder.behaviours["sub-2"] = answer(400)
    await lenient.subscribe(recorder, "sub-1", "sub-2")
    headers = [(b"x-before", b"1"), (b"x-\xff", b"2"), (b"ce_\xff", b"3"), (b"x-after", b"4")]
    records = [Written(b"a"), Written(b"b", headers=headers), Written(b"c", b"sub-2", headers), Written(b"d")]
    await lenient.broker.append(lenient.topic, batch(*records, codec=codec))
    await lenient.broker.append(lenient.topic, batch(*records, codec=codec))
    await recorder.until_events(8)

    assert [call.body for call in recorder.of("sub-1")] == [b"a", b"b", b"d"] * 2
    sent = recorder.of("sub-1")[1].headers
    assert {name: sent[name] for name in sent if name.startswith(("x-", "ce-"))} == {"x-before": "1", "x-after": "4"}
    dead = await lenient.broker.wait_for(f"{lenient.app}-dlq", 2)
    assert [[pair for pair in each.headers if not pair[0].startswith("dlq.")] for each in dead] == [
        [("x-before", b"1"), ("x-\\xff", b"2"), ("ce_\\xff", b"3"), ("x-after", b"4")]
    ] * 2
    (worker,) = lenient.workers
    assert "\nwebhooks_headers_left_out_total 8.0\n" in await worker.text("/metrics")


async def test_a_subscription_is_known_as_soon_as_it_is_created(lenient: Cluster, recorder: Recorder) -> None:
    for number in range(20):
        await lenient.subscribe(recorder, f"new-{number}")
        await lenient.produce([(f"new-{number}", b"hello")])
    await recorder.until_events(20)
    assert await lenient.broker.read(f"{lenient.app}-dlq") == []


async def test_a_deleted_subscription_gets_nothing_more(lenient: Cluster, recorder: Recorder) -> None:
    await lenient.subscribe(recorder, "sub-1", "sub-2")
    await lenient.produce([("sub-1", b"a")])
    await recorder.until_events(1)
    await lenient.store.delete("sub-1")
    await lenient.produce([("sub-1", b"b"), ("sub-2", b"c")])
    (dead,) = await lenient.broker.wait_for(f"{lenient.app}-dlq", 1)
    assert (dead.value, dict(dead.headers)["dlq.reason"]) == (b"b", b"unknown-subscription")
    await recorder.until_events(2)
    assert [call.body for call in recorder.calls] == [b"a", b"c"]


async def test_an_edit_takes_effect_with_the_next_event(plain: Cluster, recorder: Recorder) -> None:
    await plain.subscribe(recorder, "sub-1")
    await plain.produce([("sub-1", b"a")])
    await recorder.until_events(1)
    await plain.subscribe(recorder, "sub-1", endpoint={"headers": [{"name": "X-Team", "value": "b"}]})
    await plain.store.list()
    await plain.produce([("sub-1", b"b")])
    await recorder.until_events(2)
    assert [call.headers.get("x-team") for call in recorder.calls] == [None, "b"]


async def test_ordered_levels_send_one_at_a_time_and_auto_several(
    broker: TestBroker, unique_name: Callable[[str], str], tmp_path: Path, recorder: Recorder
) -> None:
    recorder.behaviours |= {"ordered": hang, "auto": hang}
    async with cluster(
        broker, unique_name("auto"), tmp_path, qos="auto", http={"maxConcurrentConnections": 7}
    ) as found:
        await found.start_worker()
        await found.until_ready()
        await found.subscribe(recorder, "auto")
        await found.subscribe(recorder, "ordered", qos="at-least-once")
        await found.produce([(name, b"%d" % number) for number in range(20) for name in ("auto", "ordered")])
        await recorder.until(lambda: len(recorder.of("auto")) == 7 and len(recorder.of("ordered")) == 1)
        lanes = {lane["subscription"]: lane["inFlight"] for lane in await found.workers[0].lanes()}
        assert lanes == {"auto": 7, "ordered": 1}
