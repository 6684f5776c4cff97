"""Virtual time: waiting tasks run in their order, and a test that would never end fails."""

import asyncio

import pytest

from tests.support import virtual_time
from tests.support.virtual_time import DeadlockError, run, settle


async def chain(links: int, seen: list[int]) -> None:
    for number in range(links):
        await asyncio.sleep(0)
        seen.append(number)


def test_settle_runs_all_tasks_until_they_wait_for_time() -> None:
    async def watch() -> tuple[list[int], list[str]]:
        seen: list[int] = []
        due: list[str] = []
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(chain(5, seen)), loop.create_task(chain(9, seen))]
        loop.call_later(0, lambda: loop.call_soon(due.append, "at once"))
        loop.call_later(1, due.append, "later")
        await settle()
        await asyncio.gather(*tasks)
        return seen, due

    seen, due = run(watch())
    assert sorted(seen) == sorted([*range(5), *range(9)])
    assert due == ["at once"]


@pytest.mark.parametrize("turns", [0, 1, 3])
def test_settle_takes_at_most_the_given_number_of_turns(turns: int) -> None:
    async def watch() -> list[int]:
        seen: list[int] = []
        task = asyncio.get_running_loop().create_task(chain(20, seen))
        await settle(turns + 1)  # the first turn starts the task
        found = list(seen)
        task.cancel()
        return found

    assert run(watch()) == list(range(turns))


def test_waiting_tasks_without_a_timer_are_a_deadlock() -> None:
    with pytest.raises(DeadlockError, match="no timer is set"):
        run(asyncio.Event().wait())


def test_a_task_that_never_ends_is_stopped_after_many_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtual_time, "TURNS_AT_MOST", 100)

    async def forever() -> None:
        for _ in range(1_000_000):
            await asyncio.sleep(1)

    with pytest.raises(DeadlockError, match="no end after 100 turns"):
        run(forever())
