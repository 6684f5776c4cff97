"""Several workers on a real Kafka: each view agrees with the lanes of all workers, and reports what is unknown."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipeline.cluster.state import SubscriptionState
from pipeline.cluster.view import ClusterView
from tests.broker.test_cluster_view import NO_RETRY, RETRY_LONG, RETRY_OFTEN, viewing
from tests.support.brokers import TestBroker
from tests.support.cluster import Cluster, cluster
from tests.support.recorder import Recorder, answer
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(180)

NAMES = ("idle", "healthy", "failing", "failing-too", "retrying", "soon", "paused", "stopped")
WITHIN_SECONDS = 3.0


@pytest.fixture
async def three(kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path) -> AsyncIterator[Cluster]:
    """Three workers on six partitions."""
    async with cluster(kafka, unique_name("three"), tmp_path, partitions=6) as found:
        for _ in range(3):
            await found.start_worker()
        await found.until_ready()
        yield found


async def truth(found: Cluster) -> dict[str, tuple[str, int | None]]:
    """The status and the number of waiting events of each subscription, according to the workers' lanes."""
    lanes: dict[str, list[dict[str, Any]]] = {}
    for worker in found.workers:
        if worker.is_running:
            for lane in await worker.lanes():
                if lane["partition"] is not None:
                    lanes.setdefault(lane["subscription"], []).append(lane)
    said = {}
    for name, found_lanes in lanes.items():
        counts = [lane["waiting"] for lane in found_lanes]
        said[name] = (found_lanes[0]["status"], None if None in counts else sum(counts))
    return said


def seen(state: SubscriptionState) -> tuple[str, int | None]:
    """The status and the number of waiting events in a view's state."""
    status = state.state if state.state in {"failure", "paused", "stopped"} else "started"
    return status, state.waiting


async def agrees(view: ClusterView, found: Cluster) -> bool:
    lanes = await truth(found)
    items = (await view.states()).items
    return {state.id for state in items} == {*NAMES} and all(
        seen(state) == lanes.get(state.id, ("started", 0)) for state in items
    )


async def differences(view: ClusterView, found: Cluster) -> str:
    lanes = await truth(found)
    said = {state.id: seen(state) for state in (await view.states()).items}
    return f"lanes {lanes}\nviews {said}\n{view.problems()}"


async def until_agreed(view: ClusterView, found: Cluster, within_seconds: float) -> None:
    try:
        await eventually(lambda: agrees(view, found), within_seconds=within_seconds, says=lambda: "")
    except TimeoutError:
        raise AssertionError(await differences(view, found)) from None


async def test_two_views_agree_about_a_cluster_of_three_workers(three: Cluster, recorder: Recorder) -> None:
    recorder.behaviours |= {
        "failing": answer(400),
        "failing-too": answer(400),
        "retrying": answer(503),
        "soon": answer(503),
    }
    await three.subscribe(recorder, "idle", "healthy")
    await three.subscribe(recorder, "failing", "failing-too", endpoint=NO_RETRY)
    await three.subscribe(recorder, "retrying", endpoint=RETRY_LONG)
    await three.subscribe(recorder, "soon", endpoint=RETRY_OFTEN)
    await three.subscribe(recorder, "paused", status="PAUSED")
    await three.subscribe(recorder, "stopped", consumerStatus="STOPPED")
    async with AsyncExitStack() as stack:
        views = [await stack.enter_async_context(viewing(three)) for _ in range(2)]
        for round_ in range(3):
            await three.produce([(name, b"{}") for name in NAMES[1:] for _ in range(round_ + 1)])
            for view in views:
                await until_agreed(view, three, 20 if round_ == 0 else WITHIN_SECONDS + 2)
        [view, _] = views
        assert len(view.workers()) == 3
        assert view.problems() == []

        # A rebalance: the other workers get the partitions of the stopped worker, and the state of their lanes.
        await three.workers[0].terminate()
        await three.until_ready(*three.workers[1:])
        await eventually(lambda: are_there(view, 2, 0), within_seconds=20, says=lambda: str(view.workers()))
        # The new owners have not counted the waiting events. The rows of the former owner have the numbers.
        for each in views:
            await eventually(partial(still_know, each), within_seconds=20, says=partial(told, each))
        states = {state.id: state for state in (await view.states()).items}
        assert {name: state.state for name, state in states.items()} == {
            "idle": "live",
            "healthy": "live",
            "failing": "failure",
            "failing-too": "failure",
            "retrying": "retrying",
            "soon": "retrying",
            "paused": "paused",
            "stopped": "stopped",
        }


async def still_know(view: ClusterView) -> bool:
    counts = {state.id: state.waiting for state in (await view.states()).items}
    return counts == {name: 0 if name in {"idle", "healthy"} else 6 for name in NAMES}


def told(view: ClusterView) -> str:
    return "\n".join(str(view.state(name)) for name in NAMES)


async def are_there(view: ClusterView, alive: int, gone: int) -> bool:
    workers = view.workers()
    return [worker.is_gone for worker in workers].count(True) == gone and len(workers) == alive + gone


async def test_a_killed_worker_is_gone_and_its_partitions_are_unowned(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path, recorder: Recorder
) -> None:
    async with cluster(kafka, unique_name("killed"), tmp_path, partitions=2) as found:
        await found.start_worker()
        await found.until_ready()
        recorder.behaviours["failing"] = answer(400)
        await found.subscribe(recorder, "idle")
        await found.subscribe(recorder, "failing", endpoint=NO_RETRY)
        await found.produce([("failing", b"{}"), ("failing", b"{}")])
        await found.until_row("failing", status="failure")
        async with viewing(found) as view:
            await eventually(lambda: are_there(view, 1, 0), within_seconds=20, says=lambda: str(view.workers()))
            await found.workers[0].kill()
            await eventually(lambda: are_there(view, 0, 1), within_seconds=20, says=lambda: str(view.workers()))

            async def is_unowned() -> bool:
                state = view.state("idle")
                return state is not None and state.state == "unowned"

            await eventually(is_unowned, within_seconds=30, says=lambda: f"{view.problems()} {view.state('idle')}")
            failing = view.state("failing")
            assert failing is not None
            assert (failing.state, failing.waiting) == ("failure", None)
            # No worker counts the events that are produced now. The end of the log gives a bound.
            await found.produce([("failing", b"{}")] * 3)

            async def is_bounded() -> bool:
                state = view.state("failing")
                return state is not None and (state.waiting_at_most or 0) >= 5

            await eventually(is_bounded, within_seconds=30, says=lambda: str(view.state("failing")))

        async with viewing(found) as later:

            async def knows() -> bool:
                state = later.state("idle")
                return state is not None and state.state == "unowned"

            await eventually(knows, within_seconds=30, says=lambda: f"{later.problems()} {later.workers()}")


async def test_without_announcements_the_view_says_what_is_unknown(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path, recorder: Recorder
) -> None:
    async with cluster(kafka, unique_name("mute"), tmp_path, partitions=2) as found:
        # This worker writes no announcements, like workers of earlier versions.
        await found.start_worker(program="mute_worker.py")
        await found.until_ready()
        recorder.behaviours["failing"] = answer(400)
        await found.subscribe(recorder, "healthy")
        await found.subscribe(recorder, "failing", endpoint=NO_RETRY)
        await found.produce([("healthy", b"{}"), ("failing", b"{}")])
        await recorder.until_events(2)
        assert "this worker delivers events, but other workers can't show its state" in found.workers[0].output()
        async with viewing(found) as view:

            async def is_seen() -> bool:
                state = view.state("failing")
                return state is not None and state.state == "failure"

            await eventually(is_seen, within_seconds=20, says=lambda: str(view.problems()))
            healthy = view.state("healthy")
            assert healthy is not None
            assert (healthy.state, healthy.waiting) == ("live", None)
            assert any("does not exist" in problem for problem in view.problems()), view.problems()
