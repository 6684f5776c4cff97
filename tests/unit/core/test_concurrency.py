"""Slots: bounded, shared between lanes that answer and suspects, and never leaked by a cancellation."""

import asyncio
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.concurrency import SUSPECT_TURN, ConcurrencyLimits, Slots
from tests.support.virtual_time import in_virtual_time, run, settle


class Queue:
    """Tasks that wait for a slot, and a record of the order in which they get one."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self.order: list[str] = []

    def ask(self, name: str, *, suspect: bool = False) -> "asyncio.Task[None]":
        return asyncio.get_running_loop().create_task(self._acquire(name, suspect=suspect))

    async def _acquire(self, name: str, *, suspect: bool) -> None:
        await self.slots.acquire(suspect=suspect)
        self.order.append(name)


@in_virtual_time
async def test_slots_are_given_in_the_order_of_the_requests() -> None:
    slots = Slots(2)
    queue = Queue(slots)
    for name in "abcd":
        queue.ask(name)
    await settle()
    assert queue.order == ["a", "b"]

    slots.release(suspect=False)
    slots.release(suspect=False)
    await settle()
    assert queue.order == ["a", "b", "c", "d"]
    assert slots.taken == 2


@in_virtual_time
async def test_a_new_request_does_not_overtake_waiting_lanes() -> None:
    slots = Slots(2)
    queue = Queue(slots)
    for name in "abc":
        queue.ask(name)
    await settle()
    slots.release(suspect=False)  # this slot goes to c, whose task has not run yet

    assert not slots.try_acquire(suspect=False)
    await settle()


@in_virtual_time
async def test_suspects_hold_at_most_half_of_the_slots() -> None:
    slots = Slots(6)
    assert [slots.try_acquire(suspect=True) for _ in range(4)] == [True, True, True, False]
    assert [slots.try_acquire(suspect=False) for _ in range(4)] == [True, True, True, False]


@in_virtual_time
async def test_a_free_slot_goes_to_a_responsive_lane_before_a_suspect() -> None:
    slots = Slots(2)
    queue = Queue(slots)
    queue.ask("a")
    queue.ask("b")
    await settle()
    slots._granted = 1  # the next slot is not for a suspect
    queue.ask("suspect", suspect=True)
    queue.ask("c")
    await settle()
    slots.release(suspect=False)
    await settle()

    assert queue.order == ["a", "b", "c"]
    slots.release(suspect=False)
    await settle()
    assert queue.order[-1] == "suspect"


@in_virtual_time
async def test_a_suspect_gets_slots_even_if_other_lanes_answer() -> None:
    slots = Slots(2)
    queue = Queue(slots)
    for number in range(2 + 3 * SUSPECT_TURN):
        queue.ask(f"lane {number}")
    queue.ask("suspect", suspect=True)
    await settle()
    for _ in range(SUSPECT_TURN):
        slots.release(suspect=False)
        await settle()

    assert "suspect" in queue.order


@pytest.mark.parametrize("suspect", [False, True])
@pytest.mark.parametrize("is_granted", [False, True])
@in_virtual_time
async def test_a_cancelled_wait_leaks_no_slot(suspect: bool, is_granted: bool) -> None:
    slots = Slots(2)
    queue = Queue(slots)
    queue.ask("a", suspect=suspect)
    queue.ask("b")
    await settle()
    waiting = queue.ask("c", suspect=suspect)
    last = queue.ask("d")
    await settle()
    if is_granted:
        slots.release(suspect=suspect)  # c has this slot, but its task has not run yet
    waiting.cancel()
    await settle()
    if not is_granted:
        slots.release(suspect=suspect)
        await settle()

    assert waiting.cancelled()
    assert last.done()
    assert slots.taken == 2
    slots.release(suspect=False)
    slots.release(suspect=False)
    assert slots.taken == 0
    assert slots.try_acquire(suspect=True)


@dataclass(frozen=True, eq=False)
class Asked:
    """A task that asked for a slot."""

    task: "asyncio.Task[None]"
    suspect: bool

    @property
    def has_slot(self) -> bool:
        return self.task.done() and not self.task.cancelled()


@given(st.lists(st.tuples(st.sampled_from(["ask", "suspect", "release", "cancel", "turn"]), st.integers(0, 9))))
def test_no_slot_is_leaked_or_given_out_twice(steps: list[tuple[str, int]]) -> None:
    run(_play(steps))


async def _play(steps: list[tuple[str, int]]) -> None:
    slots = Slots(4)
    asked: list[Asked] = []
    for action, number in steps:
        match action:
            case "ask" | "suspect":
                suspect = action == "suspect"
                asked.append(Asked(asyncio.get_running_loop().create_task(slots.acquire(suspect=suspect)), suspect))
            case "release":
                _release(slots, asked, number)
            case "cancel" if asked:
                asked[number % len(asked)].task.cancel()
            case _:
                await asyncio.sleep(0)
    await settle()

    held = [each for each in asked if each.has_slot]
    assert slots.taken == len(held) <= 4
    assert len([each for each in held if each.suspect]) <= 2
    if any(not each.task.done() and not each.suspect for each in asked):
        assert slots.taken == 4, "no lane whose receiver answers waits while a slot is free"

    for each in asked:
        each.task.cancel()
    await settle()
    for each in held:
        slots.release(suspect=each.suspect)
    assert slots.taken == 0


def _release(slots: Slots, asked: list[Asked], number: int) -> None:
    held = [each for each in asked if each.has_slot]
    if held:
        released = held[number % len(held)]
        asked.remove(released)
        slots.release(suspect=released.suspect)


@in_virtual_time
async def test_a_subscription_has_no_more_in_flight_than_its_limit() -> None:
    limits = ConcurrencyLimits()
    await limits.acquire("s", 2)
    await limits.acquire("s", 2)
    await limits.acquire("other", 1)
    waiting = [asyncio.create_task(limits.acquire("s", 2)) for _ in range(3)]
    await settle()
    assert limits.taken("s") == 2
    waiting[0].cancel()
    await settle()
    limits.release("s")
    await settle()
    assert [task.done() for task in waiting] == [True, True, False], "the lanes take turns"
    assert limits.taken("s") == 2
    limits.release("s")
    limits.release("s")
    await settle()
    limits.release("s")
    limits.release("other")
    assert (limits.taken("s"), limits.taken("other")) == (0, 0)


@in_virtual_time
async def test_a_share_given_to_a_cancelled_lane_goes_to_the_next_one() -> None:
    limits = ConcurrencyLimits()
    await limits.acquire("s", 1)
    first, second = (asyncio.create_task(limits.acquire("s", 1)) for _ in range(2))
    await settle()
    limits.release("s")
    first.cancel()  # the first task has the share, but has not run since
    await settle()
    assert second.done()
    limits.release("s")
    assert limits.taken("s") == 0


@pytest.mark.parametrize(("before", "after"), [(3, 1), (1, 3)])
@in_virtual_time
async def test_an_edited_limit_applies_to_waiting_lanes(before: int, after: int) -> None:
    limits = ConcurrencyLimits()
    for _ in range(before):
        await limits.acquire("s", before)
    waiting = [asyncio.create_task(limits.acquire("s", before)) for _ in range(5)]
    await settle()
    waiting.append(asyncio.create_task(limits.acquire("s", after)))
    await settle()
    for _ in range(before):
        limits.release("s")
    await settle()
    assert limits.taken("s") == sum(task.done() for task in waiting) == after
    for _ in waiting:
        limits.release("s")
        await settle()
    assert all(task.done() for task in waiting)
    assert limits.taken("s") == 0
