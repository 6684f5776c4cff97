"""A pytest plugin that checks every test: nothing blocks the event loop, and no task is left behind.

conftest.py loads it. test_hygiene.py plants faults that it has to find. pyproject.toml makes warnings errors and limits
the time of tests; test_hygiene.py tests these settings, too.
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
"""The packages whose code must not block the event loop. The code of tests may block it."""

TURNS_TO_END: Final = 20
"""A cancelled task may take this many turns of the event loop for its clean-up before it counts as left behind."""

settings.register_profile("dev", max_examples=50, deadline=None)
# In CI, each run has the same examples, so that failures are reproducible, and more examples than elsewhere.
settings.register_profile("ci", max_examples=300, deadline=None, derandomize=True, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))


@pytest.fixture(autouse=True)
def _no_leftover_tasks(request: pytest.FixtureRequest) -> None:
    """Check for leftover tasks. This fixture is set up before all others, so that its check runs after their
    teardown."""
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
    """The path of the package, which blockbuster needs. The package is not imported."""
    spec = find_spec(package)
    assert spec is not None
    return module_from_spec(spec)


@pytest.fixture(autouse=True, scope="session")
def _no_blocking_calls() -> Iterator[None]:
    """Make a call raise BlockingError if it blocks a running event loop and the pipeline's code is on the stack.

    Set up once per session, because replacing sixty functions takes longer than most tests.
    """
    with blockbuster_ctx(scanned_modules=[_unloaded(name) for name in GUARDED]):
        yield


@pytest.fixture
def unique_name() -> Callable[[str], str]:
    """Makes names for applications, topics and groups that no other test or run uses."""
    return lambda stem: f"{stem}-{uuid4().hex[:12]}"
