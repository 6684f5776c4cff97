"""Conclusions about an event. If the log may be incomplete, there is no conclusion."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from pipeline.cluster.attempt_search import why_not
from pipeline.cluster.attempts import Result, Results, Session
from pipeline.cluster.fate import Case, EventHistory, Fate, PartitionProgress, conclude
from pipeline.core.attempts import FailedAttempt, Probes
from pipeline.core.model import Cause, Cursor, PlainEvent, Status
from pipeline.core.subscription import Start
from tests.support.core import IDS, subscription

NOW = 10_000.0
EVENT_AT = 9_000.0
OFFSET = 7
ALIVE = Session("w", NOW - 1, 100.0, "all")
SETTLED = PartitionProgress(
    0, 50, 20, 0, PlainEvent("events", 0, OFFSET, b"s", b"", timestamp=int(EVENT_AT * 1000)), {}
)
OPEN = replace(SETTLED, committed=5)


def results(*entries: Result, worker: str = "w", at: float = EVENT_AT + 1, **more: Any) -> Results:
    return Results(worker, "events", 0, at, entries=list(entries), **more)


def done(decision: Any, at: float = EVENT_AT + 1, **more: Any) -> Result:
    return Result("s", OFFSET, at, decision, **more)


def told(*records: Results | Session, progress: PartitionProgress = SETTLED, **more: Any) -> Fate:
    """The conclusion about one event from these records of the attempt log."""
    history = EventHistory(OFFSET)
    for record in records:
        history.add(record)
    for name in ("begins_at", "began_at", "read_to", "problem"):
        setattr(history, name, more.pop(name, None))
    facts: dict[str, Any] = {"is_wanted": True, "is_anothers": False, "is_ordered": True, "now": NOW, **more}
    return conclude(Case("events-0-7", "s", history, progress, **facts))


@pytest.mark.parametrize("decision", ["delivered", "dead-lettered", "dropped", "skipped"])
@pytest.mark.parametrize("progress", [SETTLED, OPEN])
def test_a_result_in_the_log_counts_in_any_state_of_the_lane(decision: str, progress: PartitionProgress) -> None:
    fate = told(results(done(decision, reason="why")), progress=progress)
    assert (fate.status, fate.at, fate.why) == (decision, EVENT_AT + 1, "why")


def test_a_delivery_outweighs_all_other_entries() -> None:
    for records in (
        [done("dead-lettered", 1.0), done("delivered", 2.0)],
        [done("delivered", 2.0), done("skipped", 3.0)],
        [done("dropped", 1.0), done("delivered", 2.0)],
    ):
        fate = told(results(*records))
        assert (fate.status, fate.at) == ("delivered", 2.0)


def test_the_newest_of_several_final_results_counts() -> None:
    assert told(results(done("dead-lettered", 2.0), done("skipped", 1.0))).status == "dead-lettered"


def test_the_entries_are_returned_in_order() -> None:
    fate = told(results(done("delivered", 3.0), done("retry", 1.0)))
    assert [each.result.decision for each in fate.entries] == ["retry", "delivered"]
    assert told(results(replace(done("delivered"), subscription="other"))).entries == ()


def test_an_event_after_the_committed_offset_waits() -> None:
    assert told(ALIVE, progress=OPEN).status == "waiting"
    failed = done("retry", status=503, attempt=2, next_at=NOW)
    fate = told(ALIVE, results(failed), progress=OPEN)
    assert (fate.status, fate.why) == (
        "waiting",
        "attempt 2 failed: status 503; the next one is due at 1970-01-01T02:46:40Z",
    )


def test_an_event_that_the_note_names_as_settled_does_not_wait() -> None:
    assert told(ALIVE, progress=replace(OPEN, ahead=0b100)).status == "unknown"
    assert told(ALIVE, progress=replace(OPEN, ahead=0b010)).status == "waiting"


BUSY = FailedAttempt("the callback answered 503", NOW, 503)


def test_a_waiting_event_names_the_failing_event_before_it() -> None:
    trying = Cursor(5, attempt=3, first_attempt_at=NOW, not_before=NOW, error=BUSY)
    for row, why in (
        (
            trying,
            (
                "it waits behind events-0-5; the subscription is retrying: attempt 3 failed: the callback answered 503"
                "; the next one is due at 1970-01-01T02:46:40Z"
            ),
        ),
        (Cursor(5, attempt=1), "it waits behind events-0-5; the subscription is behind"),
        (
            replace(trying, next=OFFSET),
            (
                "the subscription is retrying: attempt 3 failed: the callback answered 503; "
                "the next one is due at 1970-01-01T02:46:40Z"
            ),
        ),
    ):
        fate = told(ALIVE, progress=replace(OPEN, rows={"s": row}))
        assert (fate.status, fate.why) == ("waiting", why)
    unordered = told(ALIVE, is_ordered=False, progress=replace(OPEN, rows={"s": trying}))
    assert (unordered.why or "").startswith("the subscription is retrying"), (
        "without an order, the event waits for no earlier event"
    )


def test_a_stopped_subscription_keeps_its_events() -> None:
    cause = Cause("rejected", "the callback answered 400", 7, NOW)
    probed = replace(cause, offset=5, probes=Probes(2, NOW))
    for row, why in (
        (
            Cursor(7, Status.FAILURE, cause),
            "the subscription is in FAILURE since 1970-01-01T02:46:40Z: the callback answered 400",
        ),
        (
            Cursor(5, Status.FAILURE, probed),
            (
                "it waits behind events-0-5; the subscription is in FAILURE since 1970-01-01T02:46:40Z: "
                "the callback answered 400; it is probed next at 1970-01-01T02:46:40Z"
            ),
        ),
        (
            Cursor(6, Status.PAUSED),
            ("it waits behind events-0-6; the subscription is paused; no worker has carried out its latest change yet"),
        ),
    ):
        fate = told(read_to=1.0, progress=replace(SETTLED, rows={"s": row}))
        assert (fate.status, fate.why) == ("waiting", why)
    unordered = told(
        ALIVE, read_to=1.0, is_ordered=False, progress=replace(SETTLED, rows={"s": Cursor(6, Status.PAUSED)})
    )
    assert unordered.status == "unknown", "the event may have been sent before the event that is kept"


def test_what_ends_the_pause_of_a_subscription_is_said() -> None:
    idle = "is paused by its publisher: nothing is sent until it is resumed"
    failed = Cursor(7, Status.FAILURE, Cause("rejected", "answered 400", 7, NOW))
    retried = results(done("retry", attempt=2, error="no answer", next_at=NOW))
    for row, records, why in (
        (Cursor(7, Status.PAUSED), [], f"the subscription {idle}"),
        (Cursor(7), [], f"the subscription {idle}"),
        (None, [], f"the subscription {idle}"),
        (Cursor(5, Status.PAUSED), [retried], f"attempt 2 failed: no answer; the subscription {idle}"),
        (failed, [], f"the subscription is in FAILURE since 1970-01-01T02:46:40Z: answered 400; it {idle}"),
    ):
        progress = replace(OPEN, rows={} if row is None else {"s": row})
        fate = told(ALIVE, *records, progress=progress, is_ordered=False, idle=idle)
        assert (fate.status, fate.why) == ("waiting", why)


def test_an_event_waits_for_a_subscription_that_can_t_be_used() -> None:
    problem = "the record is not JSON"
    failed = Cursor(5, Status.FAILURE, Cause("configuration", problem, None, NOW))
    for row, records, reason in (
        (None, [done("retry", error="no answer", attempt=2, next_at=NOW)], "; the subscription can't be used: "),
        (failed, [], "the subscription is in FAILURE since 1970-01-01T02:46:40Z: "),
    ):
        progress = replace(OPEN, rows={} if row is None else {"s": row})
        fate = told(ALIVE, results(*records), progress=progress, is_ordered=False, idle=f"can't be used: {problem}")
        assert (fate.why or "").endswith(f"{reason}{problem}")
        assert (fate.why or "").count(problem) == 1


def test_a_cursor_row_outweighs_the_committed_offset() -> None:
    behind, past = {"s": Cursor(3)}, {"s": Cursor(8)}
    assert told(ALIVE, progress=replace(SETTLED, rows=behind)).status == "waiting"
    assert told(ALIVE, progress=replace(OPEN, rows=past)).why == "it is done, but the attempt log has no entry about it"
    assert told(ALIVE, progress=replace(SETTLED, rows={"s": None})).why == "its cursor row can't be read"


def test_an_event_for_another_subscription_is_filtered() -> None:
    assert told(ALIVE, is_wanted=False).status == "filtered"
    assert told(ALIVE, is_wanted=False, progress=OPEN).status == "filtered"
    assert told(is_anothers=True, read_to=1.0).status == "filtered"


def test_an_event_in_a_dropped_range_is_reported_as_dropped() -> None:
    for owner in ("s", None):
        fate = told(ALIVE, results(ranges=[(owner, "dropped", "discarded", 5, 9)]))
        assert (fate.status, fate.why) == ("dropped", "discarded")
    assert told(ALIVE, results(ranges=[("other", "dropped", "discarded", 5, 9)])).status == "unknown"
    assert told(ALIVE, results(ranges=[("s", "dropped", "discarded", 5, 6)])).status == "unknown"


GAPS: Mapping[str, tuple[list[Results | Session], dict[str, Any]]] = {
    "can't be read": ([], {"problem": "no such topic"}),
    "the search reached its time limit": ([ALIVE], {"read_to": NOW - 5}),
    "3 entries of the attempt log were dropped": ([ALIVE, results(lost=[(3, 5, 9)])], {}),
    "was killed after": ([Session("dead", EVENT_AT + 5, 100.0, "all"), Session("next", NOW, EVENT_AT + 9, "all")], {}),
    "was killed": ([Session("dead", EVENT_AT + 5, 100.0, "all")], {}),
    "deliveries at the first attempt are not logged": ([replace(ALIVE, mode="failures")], {}),
}


@pytest.mark.parametrize("why", GAPS)
@pytest.mark.parametrize("progress", [SETTLED, OPEN])
@pytest.mark.parametrize("is_wanted", [True, False])
def test_a_gap_in_the_log_makes_the_fate_unknown(why: str, progress: PartitionProgress, is_wanted: bool) -> None:
    records, more = GAPS[why]
    fate = told(
        *records, results(ranges=[("s", "dropped", "discarded", 5, 9)]), progress=progress, is_wanted=is_wanted, **more
    )
    assert fate.status == "unknown"
    assert why in (fate.why or "")


def test_an_event_older_than_the_log_has_expired() -> None:
    assert told(ALIVE, begins_at=EVENT_AT + 1).status == "expired"
    fate = told(ALIVE, began_at=EVENT_AT + 1)
    assert (fate.status, "may be older than the attempt log" in (fate.why or "")) == ("unknown", True)
    assert told(ALIVE, began_at=EVENT_AT + 1, progress=OPEN).status == "waiting"


def test_a_worker_that_ended_cleanly_leaves_no_gap() -> None:
    closed = replace(ALIVE, worker="former", at=EVENT_AT + 2, is_closed=True)
    assert told(closed, ALIVE, is_wanted=False).status == "filtered"


def test_concurrent_workers_leave_no_gap() -> None:
    older, newer = Session("older", NOW - 25, 100.0, "all"), Session("newer", NOW - 1, NOW - 500, "all")
    assert told(older, newer, progress=OPEN).status == "waiting"


def test_a_replaced_worker_that_did_not_close_counts_as_killed() -> None:
    killed, next_one = Session("killed", NOW - 20, 100.0, "all"), Session("next", NOW - 1, NOW - 15, "all")
    assert "the worker killed was killed" in (told(killed, next_one, progress=OPEN).why or "")


def test_a_worker_killed_before_the_event_leaves_no_gap() -> None:
    killed = Session("former", EVENT_AT - 100, 1.0, "all")
    assert told(killed, ALIVE, is_wanted=False).status == "filtered"


def test_results_lost_for_other_events_are_not_a_gap() -> None:
    assert told(ALIVE, results(lost=[(3, 8, 9)]), is_wanted=False).status == "filtered"


def test_an_event_that_does_not_exist_yet_is_reported() -> None:
    fate = told(ALIVE, progress=replace(SETTLED, end=7))
    assert (fate.status, fate.why) == ("unknown", "there is no such event yet: its partition ends at 7")


def test_a_fate_has_the_same_name_in_json_and_tables() -> None:
    document = told(results(done("delivered", status=200))).as_document()
    assert document["fate"] == "delivered"
    assert document["entries"][0]["status"] == 200, "the status of the answer, not the fate"
    assert "status" not in document


@pytest.mark.parametrize("status", [Status.FAILURE, Status.PAUSED])
def test_a_failure_keeps_only_events_that_its_filter_matches(status: Status) -> None:
    row = Cursor(5, status, Cause("exception", "refused", 5, EVENT_AT), revision=1)
    for progress in (replace(OPEN, rows={"s": row}), replace(SETTLED, rows={"s": replace(row, next=OFFSET)})):
        assert told(ALIVE, progress=progress).status == "waiting"
        assert told(ALIVE, progress=progress, is_wanted=False, why_not="no").why == "no"
        assert told(ALIVE, progress=progress, is_wanted=False, read_to=1.0).status == "filtered"


def test_the_reason_why_an_event_is_filtered_is_given() -> None:
    event = PlainEvent("events", 0, OFFSET, b"k", b"{}")
    later = subscription(starts={"events": Start((OFFSET + 1,))})
    assert why_not(later, event) == "the subscription begins after the event"
    elsewhere = subscription(topics=frozenset({"orders"}))
    assert why_not(elsewhere, event) == "the subscription does not get events of the topic events"
    sent = replace(event, headers=IDS.address(event, "another"))
    assert why_not(later, sent) == "it was written for another subscription, or for an earlier one with this id"
    assert why_not(subscription(), event) == why_not(None, None) == "the filter does not match the event"
