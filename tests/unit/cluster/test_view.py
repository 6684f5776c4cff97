"""The answers of the view, from records that a test gives to it."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cluster import failures
from pipeline.cluster.announcement import AnnouncedLane, Announcement, encode
from pipeline.cluster.state import ALL_DEAD_LETTERED, EVERY_STATE, PartitionState, State, StateFilter
from pipeline.cluster.view import ClusterView
from pipeline.core.attempts import DeadLetterRun, FailedAttempt
from pipeline.core.model import Cause, Cursor, PlainEvent, Standing, Status
from pipeline.core.rate_limit import SlowStart
from pipeline.core.subscription import DesiredStatus, ReplayOffset, Routing, Subscription
from pipeline.kafka.admin import NOT_REACHED
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.row_format import encode as encode_row
from pipeline.kafka.topics import Source
from pipeline.subscriptions.registry import Registry
from tests.support.core import subscription

NOW = time.time()
STANDING = Standing(is_live=False, waiting_at_most=3, waiting_is_exact=True, dispatched=10)


class Known:
    """A fake registry with the methods that a view uses."""

    is_current = True
    last_error: str | None = None

    def __init__(self) -> None:
        self.found: dict[str, Subscription] = {}
        self.recreated: dict[str, int] = {}

    def get(self, name: str) -> Subscription | None:
        return self.found.get(name)

    def ids(self) -> Sequence[str]:
        return sorted(self.found)

    def recreated_at(self, name: str) -> int | None:
        return self.recreated.get(name)


class Told:
    """A view, with methods that give records to it."""

    def __init__(self, *subscriptions: Subscription, topics: tuple[str, ...] = ("events",)) -> None:
        self.now = time.time()  # a worker that has announced nothing for ten seconds is gone
        self.known = Known()
        source = Source(KafkaConnection(("localhost:1",)), topics[0], others=topics[1:])
        self.view = ClusterView("app", source, Routing.KEY, cast("Registry", self.known))
        self.view._announced.answered_at = self.now
        for each in subscriptions:
            self.knows(each)

    def knows(self, each: Subscription) -> None:
        self.known.found[each.id] = each
        self.view.on_subscription(each.id, each)

    def forgets(self, name: str) -> None:
        del self.known.found[name]
        self.view.on_subscription(name, None)

    def row(self, name: str, row: Cursor | bytes | None, at: float | None = None) -> None:
        value = encode_row(row) if isinstance(row, Cursor) else row
        self.view._take_row(PlainEvent("rows", 0, 0, name.encode(), value, timestamp=int((at or self.now) * 1000)))

    def worker(self, *lanes: AnnouncedLane, at: float | None = None, name: str = "w:1", **fields: object) -> None:
        at = at or self.now
        partition = PartitionState("events", 0, 10, 0, 10, 10, is_counted=True, end=10)
        said = Announcement(name, "1", at, at, True, None, (partition,), {"events": 1}, 0, 0, 0, 0, lanes=lanes)  # noqa: FBT003
        said = replace(said, **fields)  # type: ignore[arg-type]  # the fields of an announcement
        self.view._take_announcement(PlainEvent("w", 0, 0, name.encode(), encode(said), timestamp=int(at * 1000)))

    async def states(self) -> dict[str, State]:
        return {each.id: each.state for each in (await self.view.states(limit=1000)).items}


def failed(message: str = "the callback answered 400", kind: str = "rejected", at: float = 50.0) -> Cursor:
    return Cursor(5, Status.FAILURE, Cause(kind, message, 5, at), standing=STANDING)


async def test_rows_and_announcements_are_joined() -> None:
    told = Told(*(subscription(name) for name in ("a", "b", "c", "d")))
    told.worker(AnnouncedLane("c", "events", 0, 9, 1, attempts=2, error=FailedAttempt("no answer", NOW)))
    told.row("a", failed())
    told.row("b", Cursor(5, standing=STANDING))
    assert await told.states() == {"a": "failure", "b": "behind", "c": "retrying", "d": "live"}
    found = told.view.state("a")
    assert found is not None
    assert (found.waiting, found.failing_since) == (3, 50.0)


async def test_the_newer_of_a_lane_s_row_and_announcement_is_shown() -> None:
    told = Told(subscription("a"))
    told.worker(AnnouncedLane("a", "events", 0, 9, 1))
    told.row("a", failed(), at=told.now + 1)
    assert await told.states() == {"a": "failure"}
    told.worker(AnnouncedLane("a", "events", 0, 9, 1), at=told.now + 2)
    assert await told.states() == {"a": "live"}


async def test_an_invalid_row_affects_only_its_lane() -> None:
    told = Told(subscription("a"), subscription("b"))
    told.worker()
    told.row("a", b"\xff{")
    told.row("b", failed())
    told.view._take_row(PlainEvent("rows", 0, 0, None, b"{}", timestamp=1))
    told.view._take_row(PlainEvent("rows", 0, 0, b"\xff", b"{}", timestamp=1))
    told.view._take_announcement(PlainEvent("w", 0, 0, b"evil", b'{"at": "x"}', timestamp=1))
    assert await told.states() == {"a": "broken", "b": "failure"}
    told.row("a", None)
    told.row("b", None)
    assert await told.states() == {"a": "live", "b": "live"}


async def test_a_row_that_moves_to_another_key_is_not_lost() -> None:
    told = Told(subscription("a"), topics=("events", "more"))
    told.row("a", failed())
    # The definition has gained a topic: the row gets another key, and its record with the former key is deleted.
    told.view._take_row(PlainEvent("rows", 0, 0, b"\xffevents/a", encode_row(failed()), timestamp=int(NOW * 1000)))
    told.row("a", None)
    assert await told.states() == {"a": "failure"}
    told.view._take_row(PlainEvent("rows", 0, 0, b"\xffevents/a", None, timestamp=int(NOW * 1000)))
    assert await told.states() == {"a": "live"}


async def test_lanes_of_several_topics_are_distinguished() -> None:
    told = Told(subscription("a"), topics=("events", "more"))
    told.view._take_row(PlainEvent("rows", 0, 0, b"\xffevents/a", encode_row(failed()), timestamp=int(NOW * 1000)))
    behind = encode_row(Cursor(5, standing=STANDING))
    told.view._take_row(PlainEvent("rows", 0, 0, b"\xffmore/a", behind, timestamp=int(NOW * 1000)))
    told.view._take_row(PlainEvent("rows", 0, 0, b"\xffformer/a", behind, timestamp=int(NOW * 1000)))
    [found] = (await told.view.states()).items
    assert [(lane.topic, lane.state) for lane in found.lanes] == [("events", "failure"), ("more", "behind")]


@pytest.mark.parametrize("is_announced", [False, True])
async def test_lanes_are_sorted_by_topic_and_partition(is_announced: bool) -> None:
    told = Told(subscription("a"), topics=("events", "more"))
    for topic, partition in (("more", 0), ("events", 2), ("events", 0)):
        key = b"\xff" + topic.encode() + b"/a"
        told.view._take_row(PlainEvent("rows", partition, 0, key, encode_row(failed()), timestamp=int(NOW * 1000)))
    if is_announced:
        told.worker(AnnouncedLane("a", "events", 1, 9, 1))
    [found] = (await told.view.states()).items
    places = [(lane.topic, lane.partition) for lane in found.lanes]
    assert places == [("events", 0), *([("events", 1)] if is_announced else []), ("events", 2), ("more", 0)]


async def test_a_deleted_subscription_is_not_shown_despite_its_rows() -> None:
    told = Told(subscription("a"))
    told.row("a", failed())
    told.row("nobody", failed())
    assert len(await told.view.failures()) == 1
    told.forgets("a")
    assert await told.states() == {}
    assert await told.view.failures() == []
    assert told.view.state("a") is None


async def test_the_desired_status_outweighs_a_row() -> None:
    told = Told(
        subscription("broken", problem="the record is not JSON"),
        subscription("paused", desired_status=DesiredStatus.PAUSED),
        subscription("ended", ending_at=1.0),
        subscription("later", starting_at=time.time() + 1000.0),
    )
    for name in ("broken", "paused", "ended", "later"):
        told.row(name, failed())
    assert await told.states() == {"broken": "broken", "paused": "paused", "ended": "closed", "later": "paused"}
    [group] = await told.view.failures()
    assert (group.kind, group.ids) == ("configuration", ("broken",))


async def test_failures_of_one_outage_form_one_group() -> None:
    told = Told(
        *(subscription(f"s{number}", url="https://a.example/hook") for number in range(3)),
        subscription("t", url="https://b.example/hook"),
    )
    for number in range(3):
        told.row(f"s{number}", failed(f"connection to 10.0.0.{number} refused", "exception", at=50.0 + number))
    told.row("t", failed())
    first, second = await told.view.failures()
    assert (first.host, first.count, first.since, first.ids) == ("a.example:443", 3, 50.0, ("s0", "s1", "s2"))
    assert (first.message, first.example) == ("connection to … refused", "connection to 10.0.0.0 refused")
    assert (second.host, second.count) == ("b.example:443", 1)


async def test_receivers_that_reject_all_events_form_a_group() -> None:
    told = Told(*(subscription(name, url=f"https://{name[0]}.example/hook") for name in ("a1", "a2", "b1", "c1")))
    run = DeadLetterRun(3, 40.0, 60.0, "the callback answered 401")
    few = replace(run, count=2)
    told.row("a2", Cursor(5, standing=STANDING))
    told.worker(dead_letter_runs={"a1": run, "a2": run, "b1": few, "c1": run}, successes={"c1": 70.0})
    behind, live = await told.view.failures()
    shown = ("all-dead-lettered", "the callback answered 401", "a.example:443", 40.0)
    for group, state, name in ((live, "live", "a1"), (behind, "behind", "a2")):
        assert (group.state, group.kind, group.message, group.host, group.since) == (state, *shown)
        assert group.ids == (name,)
    refused = StateFilter(causes=frozenset({ALL_DEAD_LETTERED}))
    assert [each.id for each in (await told.view.states(refused)).items] == ["a1", "a2"]
    assert {each.host for each in await told.view.failures(StateFilter(text="a1"))} == {"a.example:443"}
    assert (await told.states())["a1"] == "live"
    told.row("a1", failed())
    told.worker(successes={"a2": 70.0})
    [group] = await told.view.failures()
    assert (group.state, group.kind, group.ids) == ("failure", "rejected", ("a1",)), "a delivery, and a worse failure"


async def test_a_group_shows_its_waiting_events_and_their_age() -> None:
    told = Told(*(subscription(f"s{number}") for number in range(3)), subscription("t", url="http://t:1/"))
    told.worker()
    for number in range(3):
        told.row(f"s{number}", replace(failed("connection refused by a.example:80"), event_ms=(50 + number) * 1000))
    told.row("t", b"{")
    first, second = await told.view.failures()
    assert first.message == "connection refused by a.example:80", "equal messages are shown unchanged"
    assert (first.waiting, first.waiting_at_least, first.waiting_at_most, first.oldest_waiting_at) == (9, 9, 9, 50.0)
    assert (second.waiting, second.waiting_at_least, second.waiting_at_most) == (None, 0, None)


async def test_a_very_large_group_counts_only_some_waiting_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "MOST_COUNTED", 2)
    told = Told(*(subscription(f"s{number}") for number in range(3)))
    told.worker()
    for number in range(3):
        told.row(f"s{number}", failed())
    [group] = await told.view.failures()
    assert (group.count, group.waiting, group.waiting_at_least, group.waiting_at_most) == (3, None, 6, None)


WISHES: tuple[dict[str, Any], ...] = (
    {},
    {"desired_status": DesiredStatus.PAUSED},
    {"problem": "the record is not JSON"},
    {"ending_at": 1.0},
    {"starting_at": 1.0},
    {"url": "https://elsewhere.example/"},
)
ROWS = (
    None,
    failed(),
    failed("the callback answered 503", "server-error", at=40.0),
    failed("the callback answered 503 after 7 ms", "server-error", at=30.0),
    Cursor(5, standing=STANDING),
    Cursor(5, attempt=2, error=FailedAttempt("no answer", NOW), first_attempt_at=20.0),
)
changes = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from([*WISHES, "forget"]) | st.sampled_from([*ROWS, b"not a row"])),
    max_size=12,
)


@given(changes=changes, has_owner=st.booleans())
async def test_groups_updated_step_by_step_equal_newly_computed_ones(
    changes: list[tuple[str, dict[str, Any] | str | Cursor | bytes | None]], has_owner: bool
) -> None:
    told = Told(*(subscription(name) for name in "abc"))
    run = DeadLetterRun(3, 40.0, 60.0, "the callback answered 401")
    told.worker(at=told.now if has_owner else told.now - 60, dead_letter_runs={"a": run, "b": run})
    told.view._ownership._members = {}  # the group has none
    everybody = StateFilter(ids=frozenset("abc"))
    for name, change in changes:
        if isinstance(change, dict):
            told.knows(subscription(name, **change))
        elif change == "forget" and name in told.known.found:
            told.forgets(name)
        elif not isinstance(change, str):
            told.row(name, change)
        assert await told.view.failures() == await told.view.failures(everybody)


async def test_a_failure_lacks_a_worker_once_the_worker_is_gone() -> None:
    for seconds in (0, 60):
        told = Told(subscription("a"))
        told.worker(at=told.now - seconds)
        told.view._ownership._members = {}  # the group has none
        told.row("a", failed())
        [found] = (await told.view.states()).items
        assert (found.state, found.lacks_worker) == ("failure", bool(seconds))


async def test_a_slow_start_is_shown_and_delays_the_next_try() -> None:
    told = Told(subscription("a", revision=4))
    lane = AnnouncedLane("a", "events", 0, 9, 1, attempts=2, next_try_at=9.0, error=FailedAttempt("no answer", NOW))
    for revision, slow in ((4, SlowStart(4, 0.5, 60.0)), (3, None)):
        told.worker(lane, slow_starts={"a": SlowStart(revision, 0.5, 60.0)})
        told.worker(slow_starts={"a": SlowStart(revision, 2.0, 1.0)}, name="w:2")
        [found] = (await told.view.states()).items
        assert found.slow_start == slow, "the slowest worker counts, unless the subscription has changed since"
        assert found.next_try_at == (9.0 if slow is None else 60.0)


async def test_the_waiting_events_of_a_lane_are_counted() -> None:
    told = Told(subscription("a"))
    told.worker()
    told.row("a", failed())
    await told.view.states()
    assert told.view.counted("a", "events", 0) == 3
    assert told.view.counted("a", "events", 1) is None
    assert told.view.counted("nobody", "events", 0) is None


async def test_no_waiting_events_are_counted_without_known_partitions() -> None:
    told = Told(subscription("a"))
    assert (await told.view.states()).items[0].waiting is None


async def test_no_waiting_events_are_counted_until_a_replay_is_applied() -> None:
    told = Told(replace(subscription("a"), revision=5, resume_from=ReplayOffset(0, 0)))
    told.worker()
    for row, waiting in (None, None), (replace(failed(), revision=4), None), (replace(failed(), revision=5), 3):
        told.row("a", row)
        [state] = (await told.view.states()).items
        assert (state.waiting, state.waiting_at_most) == (waiting, waiting)
        assert told.view.counted("a", "events", 0) == waiting


async def test_a_worker_that_left_out_lanes_makes_counts_unknown() -> None:
    told = Told(subscription("a"))
    told.worker()
    assert (await told.view.states()).items[0].waiting == 0
    told.worker(lanes_left_out=1)
    assert (await told.view.states()).items[0].waiting is None


FAMILY = [
    subscription(f"sub-{number:02}", url=f"https://h{number % 3}.example/", metadata={"tenant": f"T{number % 4}"})
    for number in range(30)
]


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        (EVERY_STATE, 30),
        (StateFilter(text="SUB-1"), 10),
        (StateFilter(text="t3"), 7),
        (StateFilter(text="h1.exam"), 10),
        (StateFilter(text="-0"), 10),
        (StateFilter(host="h2.example"), 10),
        (StateFilter(host="H2.Example:443"), 10),
        (StateFilter(host="h2.example:44"), 0),
        (StateFilter(host="h2"), 0),
        (StateFilter(metadata={"tenant": "T1"}), 8),
        (StateFilter(metadata={"tenant": "T1", "other": ""}), 0),
        (StateFilter(states=frozenset({"failure"})), 3),
        (StateFilter(states=frozenset({"live"})), 27),
        (StateFilter(causes=frozenset({"rejected"})), 3),
        (StateFilter(causes=frozenset({"gone"})), 0),
        (StateFilter(ids=frozenset({"sub-00", "nobody"})), 1),
        (StateFilter(text="sub", host="h0.example", states=frozenset({"failure"})), 3),
    ],
)
async def test_filters_select_subscriptions(wanted: StateFilter, count: int) -> None:
    told = Told(*FAMILY)
    for name in ("sub-00", "sub-03", "sub-06"):
        told.row(name, failed())
    assert (await told.view.states(wanted)).total == count


@given(limit=st.integers(1, 40), text=st.sampled_from(["", "sub-1", "t2"]))
async def test_all_pages_together_show_each_subscription_once(limit: int, text: str) -> None:
    told = Told(*FAMILY)
    wanted = StateFilter(text=text)
    everything = [each.id for each in (await told.view.states(wanted, limit=1000)).items]
    found: list[str] = []
    after = None
    while True:
        page = await told.view.states(wanted, after, limit)
        assert page.total == len(everything)
        found += [each.id for each in page.items]
        after = page.next
        if after is None:
            break
    assert found == everything


async def test_a_change_wakes_waiting_callers() -> None:
    told = Told(subscription("a"))
    await told.view.states()
    version = await told.view.changed(0)
    told.row("a", failed())
    await told.view.states()
    assert await told.view.changed(version) > version


@pytest.mark.parametrize(
    "why",
    [
        "KafkaConnectionError: Unable to bootstrap from [('127.0.0.1', 17490, <AddressFamily.AF_INET: 2>)]",
        "KafkaError: Unable to get cluster metadata over all known brokers",
    ],
)
@pytest.mark.parametrize(
    "other", ["it does not answer in time", NOT_REACHED, "[Error 15] GroupCoordinatorNotAvailableError: none"]
)
def test_silent_brokers_are_one_problem_in_plain_words(why: str, other: str) -> None:
    told = Told(subscription("a"))
    told.worker()
    told.view._announced._note_trouble(why)
    told.view._written._note_trouble("KafkaTimeoutError: Failed to get offsets by times in 10000 ms")
    told.view._ownership.problem = f"Kafka at localhost:1 can't be used: {other}"
    told.known.last_error = "topic app.subscriptions: does not exist, or this user may not see it"
    assert told.view.problems() == [
        "Kafka at localhost:1 does not answer; what is shown may be outdated",
        told.known.last_error,
    ]


def test_the_exact_reason_why_brokers_do_not_answer_is_kept() -> None:
    told = Told(subscription("a"))
    told.worker()
    told.view._announced._note_trouble("KafkaConnectionError: Unable to bootstrap from [('127.0.0.1', 1)]")
    told.view._written._note_health()
    told.view._ownership.problem = "Kafka at localhost:1 can't be used: it refuses the login of me with PLAIN"
    assert told.view.problems() == [told.view._ownership.problem]


def test_a_cluster_problem_other_than_silence_is_kept() -> None:
    told = Told(subscription("a"))
    told.worker()
    told.view._announced._note_health()
    told.view._written._note_health()
    told.view._ownership.problem = "Kafka at localhost:1 can't be used: it refuses the login of me with PLAIN"
    assert told.view.problems() == [told.view._ownership.problem]


async def test_dead_letters_are_shown_until_a_delivery_follows() -> None:
    told = Told(subscription("a"))
    run = DeadLetterRun(3, 40.0, 60.0, "the callback answered 401")
    last_one = replace(run, count=1, since=60.0)
    for delivered_at, shown in ((None, run), (39.0, run), (50.0, last_one), (61.0, None)):
        told.worker(dead_letter_runs={"a": run}, successes={} if delivered_at is None else {"a": delivered_at})
        [found] = (await told.view.states()).items
        assert found.dead_letter_run == shown
    told.forgets("a")
    told.knows(subscription("a"))
    [found] = (await told.view.states()).items
    assert found.dead_letter_run is None, "it was deleted and created again"


async def test_the_dead_letters_of_all_workers_are_added_up() -> None:
    """With `routing: match`, each worker has only some of the events of a subscription."""
    told = Told(subscription("a"))
    older, newer = DeadLetterRun(2, 40.0, 60.0, "answered 400"), DeadLetterRun(1, 70.0, 70.0, "answered 401")
    told.worker(name="v", dead_letter_runs={"a": older})
    assert [each.kind for each in await told.view.failures()] == []
    told.worker(name="w", dead_letter_runs={"a": newer})
    for delivered_at, shown in (
        (None, DeadLetterRun(3, 40.0, 70.0, "answered 401")),
        (50.0, DeadLetterRun(2, 60.0, 70.0, "answered 401")),
        (70.0, DeadLetterRun(1, 70.0, 70.0, "answered 401")),
        (65.0, newer),
    ):
        told.worker(
            name="w", dead_letter_runs={"a": newer}, successes={} if delivered_at is None else {"a": delivered_at}
        )
        [found] = (await told.view.states()).items
        assert found.dead_letter_run == shown
        assert [each.kind for each in await told.view.failures()] == [ALL_DEAD_LETTERED] * (shown.count == 3)


async def test_dead_letters_of_a_deleted_subscription_are_not_shown() -> None:
    """A worker may announce them after the view has read the deletion, or before the view began."""
    told = Told()
    run = DeadLetterRun(3, 40.0, 60.0, "the callback answered 401", revision=5)
    told.worker(dead_letter_runs={"a": run})
    told.known.recreated["a"] = 8
    told.knows(subscription("a"))
    for revision, shown in ((5, False), (8, True), (9, True)):
        told.worker(dead_letter_runs={"a": replace(run, revision=revision, at=60.0 + revision)})
        [found] = (await told.view.states()).items
        assert (found.dead_letter_run is not None) is shown
