"""The window: which offset may be committed, by example and compared with a simple, slow model."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.ahead import REACH
from pipeline.core.window import SharedWindow, Window


def window(start: int, *batches: tuple[list[int], int, float]) -> Window:
    """A window after these batches, each given as (unsettled offsets, the offset after the batch, the time)."""
    made = Window(start)
    for offsets, dispatched, now in batches:
        for offset in offsets:
            made.add(offset)
        made.advance(dispatched, now)
    return made


def test_a_new_window_may_commit_its_start() -> None:
    assert Window(40).committable == 40
    assert len(Window(40)) == 0


def test_events_settled_on_arrival_are_committed_with_the_batch() -> None:
    assert window(40, ([], 47, 0.0)).committable == 47


def test_no_offset_after_the_first_unsettled_one_is_committed() -> None:
    made = window(40, ([41, 43, 45], 47, 0.0))
    made.settle(43)
    made.settle(45)
    assert made.committable == 41
    assert len(made) == 1

    made.settle(41)
    assert made.committable == 47
    assert len(made) == 0


def test_offsets_settled_after_an_unsettled_one_are_noted() -> None:
    made = window(40, ([41, 43, 44, 46], 47, 0.0))
    assert (made.ahead_of(41), made.has_news) == (0, False)
    made.settle(43)
    made.let_go(44)
    made.settle(46)
    assert made.has_news
    assert made.ahead_of(41) == 0b100100, "only 43 and 46 are noted, because a row keeps the event at 44"
    assert not made.has_news
    made.settle(41)
    assert made.committable == 47
    assert made.ahead_of(47) == 0
    assert made.ahead_of(41) == 0b111111, "all these offsets are before the committable offset"


def test_a_note_depends_on_the_committed_offset() -> None:
    made = window(0, ([0, 1, 2, 3], 4, 0.0))
    made.settle(3)
    made.settle(0)
    made.settle(1)
    assert made.committable == 2
    assert (made.ahead_of(1), made.ahead_of(2)) == (0b101, 0b10)


def test_settled_offsets_beyond_the_reach_of_a_note_wait() -> None:
    made = window(0, (list(range(REACH + 10)), REACH + 10, 0.0))
    made.settle(REACH)
    assert made.ahead_of(0) == 0
    made.settle(0)
    made.settle(REACH + 1)
    made.settle(REACH + 2)
    assert made.committable == 1
    assert made.ahead_of(1) == 1 << REACH - 1, "the other offsets are too far ahead"
    for offset in range(1, 5):
        made.settle(offset)
    made.settle(REACH + 3)
    assert made.ahead_of(5) == 0b1111 << REACH - 5, "the note contains all settled offsets"


def test_a_window_uses_the_former_note_to_its_last_offset() -> None:
    made = Window(40, 0b1101)
    assert (made.noted_to, made.has_news) == (44, False)
    assert [made.is_noted(offset) for offset in range(40, 44)] == [True, False, True, True]
    made.add(41)
    made.advance(43, 0.0)
    assert made.ahead_of(41) == 0b110
    made.settle(41)
    assert made.committable == 43
    assert made.ahead_of(43) == 0b1


def test_gaps_in_the_log_hold_back_no_commit() -> None:
    made = window(0, ([5], 6, 0.0), ([90], 91, 1.0))
    made.settle(5)
    assert made.committable == 90


@pytest.mark.parametrize("dispatched", [40, 39])
def test_a_batch_that_does_not_advance_is_refused(dispatched: int) -> None:
    with pytest.raises(ValueError, match="dispatched_to may only grow: 40 ->"):
        Window(40).advance(dispatched, 0.0)


def test_a_window_is_as_old_as_its_oldest_unsettled_batch() -> None:
    made = window(0, ([0], 2, 100.0), ([2], 3, 110.0))
    assert made.oldest_since() == 100.0
    made.settle(0)
    assert made.oldest_since() == 110.0
    made.settle(2)
    assert made.oldest_since() is None


def test_the_offset_dispatched_before_a_given_time_is_known() -> None:
    made = window(0, ([0], 2, 100.0), ([2], 3, 110.0), ([3], 9, 120.0))
    assert made.dispatched_before(100.0) == 0
    assert made.dispatched_before(100.1) == 2
    assert made.dispatched_before(120.0) == 3
    assert made.dispatched_before(999.0) == 9


Batches = st.lists(st.lists(st.booleans(), min_size=1, max_size=5), max_size=12)


@given(Batches, st.randoms(use_true_random=False), st.integers(0, 50))
def test_the_window_agrees_with_a_model_of_every_offset(batches: list[list[bool]], order: Random, start: int) -> None:
    made, now, offset = Window(start), 0.0, start
    came: dict[int, float] = {}
    unsettled: list[int] = []
    noted: set[int] = set()
    for batch in batches:
        for is_held in batch:
            came[offset] = now
            if is_held:
                made.add(offset)
                unsettled.append(offset)
            offset += 1
        made.advance(offset, now)
        now += 1.0
        order.shuffle(unsettled)
        for place, settled in enumerate(unsettled[: len(unsettled) // 2]):
            if place % 3:
                made.settle(settled)
                noted.add(settled)
            else:
                made.let_go(settled)
        del unsettled[: len(unsettled) // 2]

        oldest = min(unsettled, default=None)
        assert made.committable == (offset if oldest is None else oldest)
        assert len(made) == len(unsettled)
        assert made.oldest_since() == (None if oldest is None else came[oldest])
        assert made.dispatched_to == offset
        head = made.committable
        ahead = made.ahead_of(head)
        assert {head + place for place in range(ahead.bit_length()) if ahead >> place & 1} == {
            each for each in noted if each >= head
        }


def test_an_offset_shared_by_lanes_is_settled_with_the_last_one() -> None:
    made = SharedWindow(40)
    for offset in (40, 40, 41, 42, 42, 42):
        made.add(offset)
    made.advance(43, 0.0)
    assert (len(made), made.load) == (3, 6)
    made.settle(42)
    made.let_go(42)
    made.mark_settled(42)
    made.mark_settled(41)
    assert made.ahead_of(40) == 0, "other lanes still hold both offsets"
    made.settle(42)
    made.settle(41)
    assert made.ahead_of(40) == 0b110
    made.settle(40)
    assert made.committable == 40
    made.let_go(40)
    assert (made.committable, len(made), made.load) == (43, 0, 0)
