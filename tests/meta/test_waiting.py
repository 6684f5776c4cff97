"""A wait for a condition ends when the condition holds, or when there is no more progress."""

import asyncio

import pytest

from tests.support.virtual_time import run
from tests.support.waiting import eventually


async def after(polls: int, *, moves_for: int = 0) -> None:
    """Wait up to a second for a condition that holds at check number *polls*. There are ten checks a second."""
    asked = moved = 0

    async def holds() -> bool:
        nonlocal asked, moved
        asked += 1
        moved = min(asked, moves_for)
        return asked == polls

    await eventually(holds, within_seconds=1, says=lambda: f"asked {asked} times", progress=lambda: moved)


def test_a_condition_that_holds_in_time_ends_the_wait() -> None:
    run(after(8))


def test_without_progress_a_wait_fails() -> None:
    with pytest.raises(TimeoutError, match="asked 10 times"):
        run(after(12))


def test_every_progress_restarts_the_time_limit() -> None:
    run(after(30, moves_for=25))


def test_without_further_progress_a_wait_fails() -> None:
    with pytest.raises(TimeoutError, match=r"asked 3[0-9] times"):
        run(after(100, moves_for=25))


def test_a_condition_that_never_holds_is_reported() -> None:
    async def fails() -> bool:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(eventually(fails, within_seconds=1, says=str))
