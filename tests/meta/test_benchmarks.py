"""Tests the arithmetic of the benchmarks, because a wrong result looks as plausible as a right one."""

import os
import sys
import time
from itertools import islice
from pathlib import Path

import pytest

from tests.benchmarks import peers
from tests.benchmarks.arrivals import LAYOUT, NO_ANSWER, Arrival, Order, latencies, order, percentile, unpack
from tests.benchmarks.commit_lag import CommitLag, Look
from tests.benchmarks.events import body, in_turn
from tests.benchmarks.procfs import cpu_seconds, memory
from tests.benchmarks.report import table


def taken(number: int, *sequences: int) -> list[Arrival]:
    return [Arrival(number, sequence, 200, 1.0, 2.0) for sequence in sequences]


def test_events_that_arrive_once_and_in_turn_are_in_order() -> None:
    assert order([*taken(0, 1, 2), *taken(1, 1), *taken(0, 3)]) == Order(4, repeated=0, out_of_order=0)


def test_a_swap_puts_two_events_out_of_order() -> None:
    assert order(taken(0, 1, 3, 2)) == Order(3, repeated=0, out_of_order=2)


def test_a_repeated_event_is_not_out_of_order() -> None:
    assert order(taken(0, 1, 2, 1, 2, 3)) == Order(3, repeated=2, out_of_order=0)


def test_attempts_without_success_do_not_count_as_arrivals() -> None:
    tries = [Arrival(0, 1, status, 1.0, 2.0) for status in (503, NO_ANSWER)]

    assert order([*tries, *taken(0, 1)]) == Order(1, repeated=0, out_of_order=0)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.5, 50), (0.99, 99), (1.0, 100)])
def test_a_percentile_is_one_of_the_values(share: float, expected: float) -> None:
    assert percentile(range(1, 101), share) == expected


def test_latencies_are_sorted_times_from_production_to_arrival() -> None:
    arrivals = [Arrival(0, 1, 200, 10.0, 13.0), Arrival(0, 2, 200, 11.0, 12.0)]

    assert latencies(arrivals) == [1.0, 3.0]


def test_arrivals_are_passed_between_processes_unchanged() -> None:
    arrivals = [Arrival(7, 1_000_000, 200, time.time(), time.time()), *taken(0, 1)]

    assert unpack(b"".join(LAYOUT.pack(*each) for each in arrivals)) == arrivals


def test_subscriptions_take_turns_and_number_their_events() -> None:
    assert list(islice(in_turn([4, 5]), 5)) == [(4, 1), (5, 1), (4, 2), (5, 2), (4, 3)]


def test_a_body_has_the_size_that_was_asked_for() -> None:
    event = body(99, 1_000_000, 200)

    assert len(event) == 200
    assert event.split()[:2] == [b"99", b"1000000"]


def test_commit_lag_is_the_age_of_the_oldest_uncommitted_event() -> None:
    lag = CommitLag()
    # Event 0 is seen at 1 s and committed between 3 s and 4 s; event 1 is seen at 3 s and never committed.
    lag.looks += [Look(1.0, 0, 1), Look(2.0, 0, 1), Look(3.0, 0, 2), Look(4.0, 1, 2), Look(4.5, 1, 2)]

    assert lag.longest_seconds() == 2.0


def test_a_partition_that_is_committed_to_its_end_has_no_lag() -> None:
    lag = CommitLag()
    lag.looks += [Look(1.0, 5, 5), Look(60.0, 5, 5)]

    assert lag.longest_seconds() == 0.0


def test_cpu_time_and_memory_of_a_process_are_measured() -> None:
    before, began = cpu_seconds(os.getpid()), time.process_time()
    while time.process_time() - began < 0.1:
        pass

    used = memory(os.getpid())
    assert cpu_seconds(os.getpid()) - before == pytest.approx(0.1, abs=0.05)
    assert 0 < used.resident_bytes <= used.peak_bytes


def test_the_columns_of_a_table_are_aligned() -> None:
    assert table(("who", "n"), [("a", "1,000")]) == "| who |     n |\n|-----|------:|\n| a   | 1,000 |"


async def test_a_peer_whose_tools_are_missing_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")

    there, absent = await peers.found()

    assert there == []
    assert absent == ["node was left out: there is no npm here", "bento was left out: there is no go here"]


async def test_a_failed_build_of_a_peer_shows_its_last_output() -> None:
    with pytest.raises(peers.AbsentError, match="ended with 3: no registry"):
        await peers._run([sys.executable, "-c", "print('first\\nno registry'); raise SystemExit(3)"], Path.cwd())
