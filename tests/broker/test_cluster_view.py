"""The view of the cluster in a process that delivers nothing agrees with the workers' own state."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pipeline.cluster.announcement import Announcement, encode
from pipeline.cluster.state import StateFilter, SubscriptionState
from pipeline.cluster.view import ClusterView
from pipeline.cluster.workers_seen import HIDDEN_SECONDS
from pipeline.kafka.topics import subscriptions_topic, workers_topic
from pipeline.runtime.side_topics import ensure_side_topics
from pipeline.subscriptions.registry import Registry
from pipeline.subscriptions.secrets import SecretBox
from tests.support.brokers import TestBroker
from tests.support.cluster import Cluster, cluster
from tests.support.recorder import Recorder, answer
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(120)

RETRY_LONG = {
    "retry": {"retryOption": "Retry On Fail", "initialDelaySeconds": 60, "maxDelaySeconds": 60, "maxAttempts": 9}
}
RETRY_OFTEN = {
    "retry": {"retryOption": "Retry On Fail", "initialDelaySeconds": 1, "maxDelaySeconds": 1, "maxAttempts": 9000}
}
NO_RETRY = {"retry": {"retryOption": "No Retry"}}


@asynccontextmanager
async def viewing(found: Cluster) -> AsyncIterator[ClusterView]:
    """A view of a cluster in this process, like the view of `webhooks console`."""
    connection = found.broker.connection
    box = SecretBox(found.environment["WEBHOOKS_SECRET_KEYS"].split(","))
    registry = Registry(connection, subscriptions_topic(found.app), box, found.definition)
    view = ClusterView(found.app, found.definition.source, found.definition.routing, registry)
    await registry.start(view.on_subscription)
    await view.start()
    try:
        yield view
    finally:
        await view.stop()
        await registry.stop()


async def until(view: ClusterView, name: str, holds: Callable[[SubscriptionState], bool]) -> SubscriptionState:
    """Wait until *holds* is true of the state of a subscription, and return the state."""

    async def is_so() -> bool:
        [*items] = (await view.states(StateFilter(ids=frozenset({name})))).items
        return bool(items) and holds(items[0])

    await eventually(is_so, within_seconds=30, says=lambda: f"{view.state(name)}\n{view.problems()}\n{view.workers()}")
    found = view.state(name)
    assert found is not None
    return found


@pytest.fixture
async def watched(
    broker: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> AsyncIterator[tuple[Cluster, ClusterView]]:
    """A cluster with one worker, and a view of the cluster."""
    async with cluster(broker, unique_name("view"), tmp_path, partitions=2) as found:
        await found.start_worker()
        await found.until_ready()
        async with viewing(found) as view:
            yield found, view


async def test_a_view_outside_the_workers_shows_every_state(
    watched: tuple[Cluster, ClusterView], recorder: Recorder
) -> None:
    found, view = watched
    recorder.behaviours |= {"failing": answer(400), "retrying": answer(503), "soon": answer(503)}
    await found.subscribe(recorder, "idle", "healthy", metadata={"tenant": "acme"})
    await found.subscribe(recorder, "failing", endpoint=NO_RETRY)
    await found.subscribe(recorder, "retrying", endpoint=RETRY_LONG)
    await found.subscribe(recorder, "soon", endpoint=RETRY_OFTEN)
    await found.subscribe(recorder, "paused", status="PAUSED")
    await found.produce([(name, b"{}") for name in ("healthy", "failing", "retrying", "soon", "paused")])
    await recorder.until_events(4)
    await found.produce([("failing", b"{}")] * 3 + [("paused", b"{}")] * 2)

    healthy = await until(view, "healthy", lambda state: state.last_success_at is not None)
    assert (healthy.state, healthy.waiting, healthy.lanes) == ("live", 0, ())
    idle = await until(view, "idle", lambda state: state.waiting == 0)
    assert (idle.state, idle.last_success_at, idle.metadata) == ("live", None, {"tenant": "acme"})
    failing = await until(view, "failing", lambda state: state.waiting == 4)
    assert failing.cause is not None
    assert (failing.state, failing.cause.kind, failing.attempts) == ("failure", "rejected", 1)
    assert failing.host == recorder.url("x").split("/")[2]
    retrying = await until(view, "retrying", lambda state: state.state == "retrying" and state.waiting == 1)
    assert retrying.error is not None
    assert (retrying.error.status, retrying.attempts) == (503, 1)
    assert retrying.next_try_at is not None
    soon = await until(view, "soon", lambda state: state.state == "retrying" and state.attempts > 1)
    assert soon.failing_since is not None
    await until(view, "paused", lambda state: state.state == "paused" and state.waiting == 3)

    totals = await view.totals()
    assert {state: count for state, count in totals.items() if count} == {
        "live": 2,
        "failure": 1,
        "retrying": 2,
        "paused": 1,
    }
    [by_rejection, by_error] = sorted(await view.failures(), key=lambda group: group.kind)
    assert (by_rejection.message, by_rejection.ids) == ("the callback answered 400", ("failing",))
    assert (by_error.message, by_error.ids) == ("the callback answered 503", ("retrying", "soon"))
    [worker] = view.workers()
    assert (worker.ready, worker.is_gone, len(worker.partitions)) == (True, False, 2)
    assert view.problems() == []


async def test_a_stopped_worker_disappears_from_the_view(watched: tuple[Cluster, ClusterView]) -> None:
    found, view = watched

    async def are_there(count: int) -> bool:
        return len(view.workers()) == count

    await eventually(lambda: are_there(1), within_seconds=20, says=lambda: str(view.problems()))
    await found.workers[0].terminate()
    await eventually(lambda: are_there(0), within_seconds=10, says=lambda: str(view.workers()))


async def test_a_worker_with_a_slow_clock_is_present(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    slow = time.time() - 2 * HIDDEN_SECONDS
    said = Announcement("slow", "1.0", slow, slow, True, None, (), {}, 0.0, 0.0, 0, 0)  # noqa: FBT003
    async with cluster(kafka, unique_name("slow"), tmp_path, partitions=1) as found:
        assert await ensure_side_topics(found.definition, found.app, create=True) == []
        await kafka.until_led(workers_topic(found.app), 1)
        async with kafka.producer() as producer:
            at_ms = int(slow * 1000)
            await producer.send_and_wait(workers_topic(found.app), encode(said), b"slow", timestamp_ms=at_ms)
        async with viewing(found) as view:
            await view.ready()
            assert [(worker.name, worker.is_gone) for worker in view.workers()] == [("slow", False)]
