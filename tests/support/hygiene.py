"""What every test is held to, as a pytest plugin: nothing blocks the event loop, no task is left behind.

Loaded by conftest.py; test_hygiene.py plants the faults that it has to catch. That warnings are errors and that tests
end in time are settings in pyproject.toml, tried there as well.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Final
from uuid import uuid4

import pytest
from blockbuster import blockbuster_ctx
from hypothesis import settings

GUARDED: Final = ("pipeline", "agents")
"""The packages whose code may not block the event loop. What tests themselves do there is their own affair."""

TURNS_TO_END: Final = 20
"""How many turns of the event loop a task that was cancelled has for its clean-up before it counts as left behind."""

settings.register_profile("dev", max_examples=50, deadline=None)
# The same examples in each run: a failure in CI is never a matter of luck, and more of them, for there is time.
settings.register_profile("ci", max_examples=300, deadline=None, derandomize=True, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))


@pytest.fixture(autouse=True)
def _no_leftover_tasks(request: pytest.FixtureRequest) -> None:
    """Set up before anything else of a test, so that it looks when all its other fixtures are gone."""
    if request.node.get_closest_marker("asyncio"):
        request.getfixturevalue("_leftover_task_check")


@pytest.fixture
async def _leftover_task_check() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    ours = {asyncio.current_task(), *before}
    for _ in range(TURNS_TO_END):
        if not asyncio.all_tasks() - ours:
            return
        await asyncio.sleep(0)
    left = sorted(map(_describe, asyncio.all_tasks() - ours))
    pytest.fail("the test left tasks behind: " + ", ".join(left), pytrace=False)


def _describe(task: asyncio.Task[object]) -> str:
    coroutine = task.get_coro()
    return f"{task.get_name()} ({getattr(coroutine, '__qualname__', coroutine)})"


def _unloaded(package: str) -> ModuleType:
    """The package as blockbuster needs it: its path. Its code does not run: this loads no module of ours."""
    spec = find_spec(package)
    assert spec is not None
    return module_from_spec(spec)


@pytest.fixture(autouse=True, scope="session")
def _no_blocking_calls() -> Iterator[None]:
    """A call that blocks inside a running event loop, with code of ours on the stack, raises BlockingError.

    Set up once: sixty functions are replaced, which takes longer than most tests.
    """
    with blockbuster_ctx(scanned_modules=[_unloaded(name) for name in GUARDED]):
        yield


@pytest.fixture
def unique_name() -> Callable[[str], str]:
    """Names for applications, topics and groups that no other test and no other run uses."""
    return lambda stem: f"{stem}-{uuid4().hex[:12]}"
