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


def test_a_wait_ends_when_the_condition_holds() -> None:
    run(after(8))


def test_a_wait_fails_without_any_progress() -> None:
    with pytest.raises(TimeoutError, match="asked 10 times"):
        run(after(12))


def test_progress_restarts_the_time_limit_of_a_wait() -> None:
    run(after(30, moves_for=25))


def test_a_wait_fails_when_the_progress_stops() -> None:
    with pytest.raises(TimeoutError, match=r"asked 3[0-9] times"):
        run(after(100, moves_for=25))


def test_an_error_in_the_condition_ends_the_wait() -> None:
    async def fails() -> bool:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(eventually(fails, within_seconds=1, says=str))
