"""Plants faults in a separate pytest run with the project's configuration, and checks that each one is found."""

from pathlib import Path

import pytest

from pipeline.cli.dev.embedded_broker import __file__ as a_file_of_the_pipeline

ROOT = Path(__file__).parents[2]

PLANTED = {
    "a blocking call": (
        f"""
        import time
        # Compiled as if it stood in the pipeline: the guard goes by the file on the stack.
        blocks = compile("time.sleep(0)", {str(Path(a_file_of_the_pipeline).with_name("planted.py"))!r}, "exec")
        async def test_it():
            exec(blocks)
        """,
        "*BlockingError: Blocking call to time.sleep*",
    ),
    "a task left behind": (
        """
        import asyncio
        left = []
        async def forever():
            await asyncio.Event().wait()
        async def test_it():
            left.append(asyncio.create_task(forever(), name="the forgotten one"))
        """,
        "*the test left tasks behind: the forgotten one (forever)*",
    ),
    "a coroutine nobody awaits": (
        """
        async def forgotten(): ...
        def test_it():
            forgotten()
        """,
        "*coroutine 'forgotten' was never awaited*",
    ),
    "a test without end": (
        """
        import asyncio, pytest
        @pytest.mark.timeout(0.2)
        async def test_it():
            await asyncio.Event().wait()
        """,
        "*Timeout (>0.2s)*",
    ),
    "a marker nobody registered": (
        """
        import pytest
        @pytest.mark.kafak
        def test_it(): ...
        """,
        "*'kafak' not found in `markers`*",
    ),
}


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.plugins = []
    return pytester


def pytest_run(pytester: pytest.Pytester, **sources: str) -> pytest.RunResult:
    pytester.makepyfile(**sources)
    options = ("--rootdir", str(pytester.path), "-p", "tests.support.hygiene", "--continue-on-collection-errors")
    return pytester.runpytest_subprocess("-c", str(ROOT / "pyproject.toml"), *options, str(pytester.path))


def test_planted_faults_are_caught(run: pytest.Pytester) -> None:
    modules = {"test_" + fault.replace(" ", "_"): source for fault, (source, _) in PLANTED.items()}

    result = pytest_run(run, **modules)

    for module, (_, sentence) in zip(modules, PLANTED.values(), strict=True):
        result.stdout.re_match_lines([f"(FAILED|ERROR) {module}.py.*"])
        result.stdout.fnmatch_lines([sentence])


def test_clean_tests_pass_under_the_same_rules(run: pytest.Pytester) -> None:
    result = pytest_run(
        run,
        test_planted="""
        import asyncio, time
        from hypothesis import given, strategies
        async def test_a_task_that_is_awaited():
            await asyncio.create_task(asyncio.sleep(0))
        async def test_a_task_that_is_cancelled_may_take_some_turns_to_end():
            async def slow_to_end():
                try:
                    await asyncio.Event().wait()
                finally:
                    await asyncio.sleep(0)
            task = asyncio.create_task(slow_to_end())
            await asyncio.sleep(0)
            task.cancel()
        async def test_a_blocking_call_of_the_test_itself():
            time.sleep(0)
        @given(strategies.integers())
        def test_a_property(number):
            assert number == number
        """,
    )

    result.assert_outcomes(passed=4)


def test_the_hygiene_checks_run_for_every_test(request: pytest.FixtureRequest) -> None:
    assert request.config.pluginmanager.has_plugin("tests.support.hygiene")
    assert {"_no_leftover_tasks", "_no_blocking_calls"} <= set(request.fixturenames)
