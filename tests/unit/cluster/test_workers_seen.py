"""Which workers are present and what they own, according to announcements."""

from dataclasses import replace

from pipeline.cluster.announcement import AnnouncedLane, Announcement
from pipeline.cluster.state import PartitionState
from pipeline.cluster.workers_seen import GONE_SECONDS, HIDDEN_SECONDS, MOST_RUNS_KEPT, WorkersSeen
from pipeline.core.attempts import DeadLetterRun

LANE = AnnouncedLane("s", "events", 0, 1, 2)


def said(worker: str, *numbers: int, **fields: object) -> Announcement:
    partitions = tuple(PartitionState("events", number, 0, 0, 0, 0, is_counted=True, end=0) for number in numbers)
    plain = Announcement(worker, "1", 1.0, 1.0, True, None, partitions, {"events": 4}, 0.0, 0.0, 0, 0)  # noqa: FBT003
    return replace(plain, **fields)  # type: ignore[arg-type]  # the fields of an announcement


def test_a_partition_belongs_to_the_last_worker_to_announce_it() -> None:
    seen = WorkersSeen()
    seen.take(said("a", 0, 1), 10.0)
    seen.take(said("b", 1, 2), 11.0)
    assert seen.owned(12.0) == {("events", 0): "a", ("events", 1): "b", ("events", 2): "b"}
    assert seen.counts() == {"events": 4}


def test_a_silent_worker_is_shown_as_gone_and_later_forgotten() -> None:
    seen = WorkersSeen()
    seen.take(said("a", 0), 10.0)
    now = 10.0 + GONE_SECONDS + 1
    assert [state.is_gone for state in seen.states(now)] == [True]
    assert seen.owned(now) == {}
    assert seen.place(("events", 0)) is not None, "the last announcement of the partition is still known"
    later = 10.0 + HIDDEN_SECONDS + 1
    seen.refresh(later, later)
    assert seen.states(now) == []


def test_no_worker_is_gone_because_the_brokers_were_silent() -> None:
    seen = WorkersSeen()
    seen.take(said("killed before", 0), 10.0)
    seen.take(said("present", 1), 38.0)
    seen.take(said("killed meanwhile", 2), 38.0)
    for now in range(41, 71):  # the last answer was at 40 s, and the brokers continue at 70 s
        seen.refresh(float(now), 40.0)
        assert [state.name for state in seen.states(float(now)) if state.is_gone] == ["killed before"]
        assert seen.owned(float(now)) == {("events", 1): "present", ("events", 2): "killed meanwhile"}
    for now in range(71, 81):
        seen.take(said("present", 1), float(now))
        seen.refresh(float(now), float(now))
    assert [state.name for state in seen.states(81.0) if state.is_gone] == ["killed before", "killed meanwhile"]


def test_no_gone_worker_returns_when_the_clock_is_set_back() -> None:
    seen = WorkersSeen()
    seen.take(said("a", 0), 3600.0)
    seen.refresh(1.0, 1.0)
    seen.take(said("b", 0), 2.0)
    assert seen.owned(2.0) == {("events", 0): "b"}
    now = 2.0 + GONE_SECONDS
    assert [state.name for state in seen.states(now) if state.is_gone] == ["a"]


def test_a_clock_set_back_excuses_no_worker_for_longer() -> None:
    seen = WorkersSeen()
    seen.take(said("a", 0), 3590.0)
    seen.refresh(3600.0, 3592.0)  # the brokers are silent, so the worker is excused
    seen.refresh(1.0, 1.0)
    assert [state.is_gone for state in seen.states(2.0 + GONE_SECONDS)] == [True]


def test_lanes_missing_in_the_next_announcement_are_dropped() -> None:
    seen = WorkersSeen()
    assert seen.take(said("a", 0, lanes=(LANE,)), 10.0) == {"s"}
    assert [*seen.lanes("s")] == [("events", 0)]
    assert seen.take(said("a", 0), 12.0) == {"s"}
    assert seen.lanes("s") == {}


def test_a_worker_replaces_only_its_own_announcements() -> None:
    seen = WorkersSeen()
    seen.take(said("a", 0, lanes=(LANE,)), 10.0)
    seen.take(said("b", 1, lanes=(replace(LANE, partition=1),)), 10.0)
    seen.stopped("a")
    assert [*seen.lanes("s")] == [("events", 1)]
    assert [state.name for state in seen.states(11.0)] == ["b"]


def test_the_last_delivery_is_known_until_the_deletion() -> None:
    seen = WorkersSeen()
    seen.take(said("a", successes={"s": 5.0}), 10.0)
    seen.take(said("a"), 12.0)
    seen.stopped("a")
    assert seen.last_success("s") == 5.0
    seen.forget("s")
    assert seen.last_success("s") is None


def test_an_announcement_that_left_out_lanes_is_incomplete() -> None:
    seen = WorkersSeen()
    seen.take(said("a"), 10.0)
    assert seen.has_told_all(11.0)
    seen.take(said("b", lanes_left_out=3), 10.0)
    assert not seen.has_told_all(11.0)


def test_a_dead_letter_dated_in_the_future_counts_as_new() -> None:
    seen, forged = WorkersSeen(), DeadLetterRun(9, 1e9, 2e9, "forged")
    seen.take(said("a", dead_letter_runs={"s": forged}), 10.0)
    assert [*seen.dead_letter_runs("s")] == [replace(forged, since=10.0, at=10.0)]
    newer = DeadLetterRun(1, 11.0, 11.0, "401")
    seen.take(said("a", dead_letter_runs={"s": newer}), 12.0)
    assert [*seen.dead_letter_runs("s")] == [newer]


def test_the_dead_letters_of_few_workers_are_remembered() -> None:
    seen = WorkersSeen()
    for number in range(MOST_RUNS_KEPT + 1):
        seen.take(said(f"w{number}", dead_letter_runs={"s": DeadLetterRun(1, 2.0, 2.0 + number, "401")}), 1000.0)
    assert len(seen.dead_letter_runs("s")) == MOST_RUNS_KEPT
    assert min(run.at for run in seen.dead_letter_runs("s")) == 3.0, "the oldest one was forgotten"


def test_a_repeated_run_of_dead_letters_changes_no_state() -> None:
    seen, runs = WorkersSeen(), {"s": DeadLetterRun(2, 2.0, 3.0, "401")}
    assert seen.take(said("a", dead_letter_runs=runs), 10.0) == {"s"}
    assert seen.take(said("a", dead_letter_runs=runs), 12.0) == set()
    assert seen.take(said("b", dead_letter_runs=runs), 12.0) == {"s"}
