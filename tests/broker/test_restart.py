"""State that survives a restart of a worker: FAILURE and its cause, positions, retry budgets, access tokens."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from pipeline.core.ahead import unpack
from pipeline.core.model import Status
from pipeline.kafka.committed import Committed
from pipeline.subscriptions.edits import PAUSE, RESUME
from tests.support.brokers import TestBroker
from tests.support.cluster import Cluster, cluster
from tests.support.recorder import Call, Recorder, accept, answer, hang
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(150)


@pytest.fixture
async def lone(kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path) -> AsyncIterator[Cluster]:
    """One worker, at-least-once, whose lanes fall behind when they have held an event for a second."""
    async with cluster(kafka, unique_name("restart"), tmp_path, settings={"HOLD_SECONDS": "1"}) as found:
        await found.start_worker()
        await found.until_ready()
        yield found


async def restarted(found: Cluster) -> None:
    """Replace the worker by a new one."""
    assert await found.workers[-1].terminate() == 0
    worker = await found.start_worker()
    await found.until_ready(worker)


async def test_a_failure_keeps_its_cause_until_the_resume(lone: Cluster, recorder: Recorder) -> None:
    recorder.behaviours["sub-1"] = answer(400)
    await lone.subscribe(recorder, "sub-1")
    await lone.produce([("sub-1", b"a"), ("sub-1", b"b")])
    before = await lone.until_row("sub-1", status=Status.FAILURE)
    recorder.behaviours["sub-1"] = accept
    await restarted(lone)
    await lone.produce([("sub-1", b"c")])
    (lane,) = await lone.workers[-1].lanes()
    assert (lane["status"], lane["next"]) == ("failure", before.next)
    assert lane["cause"]["message"] == "the callback answered 400"
    assert len(recorder.calls) == 1

    await lone.store.edit("sub-1", RESUME)
    await recorder.until(lambda: len(recorder.calls) == 4)
    assert [call.body for call in recorder.calls] == [b"a", b"a", b"b", b"c"]


async def test_a_restart_does_not_reset_the_number_of_attempts(lone: Cluster, recorder: Recorder) -> None:
    recorder.behaviours["sub-1"] = answer(503)
    retry = {"retryStrategy": "LINEAR", "maxAttempts": 3, "initialDelaySeconds": 2, "maxDelaySeconds": 2}
    await lone.subscribe(recorder, "sub-1", endpoint={"retry": retry})
    await lone.produce([("sub-1", b"a")])
    await recorder.until(lambda: len(recorder.calls) == 2)
    await restarted(lone)
    await lone.until_row("sub-1", status=Status.FAILURE)
    assert [call.attempt for call in recorder.calls] == [1, 2, 3, 4]


async def test_a_subscription_far_behind_continues_after_a_restart(lone: Cluster, recorder: Recorder) -> None:
    await lone.subscribe(recorder, "sub-1", "sub-2")
    await lone.store.edit("sub-1", PAUSE)
    await lone.produce([(name, b"%d" % number) for number in range(2500) for name in ("sub-1", "sub-2")], partition=0)
    await recorder.until(lambda: len(recorder.of("sub-2")) == 2500)
    await lone.store.edit("sub-1", RESUME)
    await recorder.until(lambda: len(recorder.of("sub-1")) >= 300)
    await restarted(lone)
    await recorder.until_events(5000)
    assert not recorder.repeated()
    assert not recorder.out_of_order()


@dataclass
class TokenServer:
    """A token endpoint that records requests and numbers its tokens."""

    url: str = ""
    requests: list[dict[str, str]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        form = await request.post()
        self.requests.append({name: str(value) for name, value in form.items()})
        number = len(self.requests)
        return web.json_response({"access_token": f"token-{number}", "token_type": "Bearer", "expires_in": 3600})


@asynccontextmanager
async def issuing() -> AsyncIterator[TokenServer]:
    server = TokenServer()
    application = web.Application()
    application.router.add_post("/token", server.handle)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/token"
        yield server
    finally:
        await runner.cleanup()


def oauth2(server: TokenServer) -> dict[str, object]:
    credentials = {"endpoint": server.url, "clientId": "me", "clientSecret": "planted", "scopes": ["a", "b"]}
    return {"auth": {"type": "oauth2", "oauth2": credentials}}


async def test_an_access_token_is_fetched_once_and_survives_a_restart(lone: Cluster, recorder: Recorder) -> None:
    async with issuing() as server:
        names = [f"sub-{number}" for number in range(8)]
        await lone.subscribe(recorder, *names, endpoint=oauth2(server))
        await lone.produce([(name, b"a") for name in names])
        await recorder.until_events(8)
        await restarted(lone)
        await lone.produce([(name, b"b") for name in names])
        await recorder.until_events(16)
        assert {call.headers["authorization"] for call in recorder.calls} == {"Bearer token-1"}
        assert server.requests == [
            {"grant_type": "client_credentials", "client_id": "me", "client_secret": "planted", "scope": "a b"}
        ]


async def test_access_tokens_move_with_their_partitions(lone: Cluster, recorder: Recorder) -> None:
    """A worker recovers its tokens at every rebalance. Tokens that it fetches during a rebalance must not be lost."""
    names = [f"sub-{number}" for number in range(8)]
    events = [(name, b"") for name in names]
    async with issuing() as server:
        await lone.subscribe(recorder, *names, endpoint=oauth2(server))
        await lone.produce(events)
        await recorder.until_events(8)
        for turn in (1, 2, 3):
            other = await lone.start_worker()
            await lone.until_ready(lone.workers[0], other)
            await lone.produce(events)
            await recorder.until_events(16 * turn)
            assert await other.terminate() == 0
            await lone.until_ready(lone.workers[0])
            await lone.produce(events)
            await recorder.until_events(16 * turn + 8)
        assert {call.headers["authorization"] for call in recorder.calls} == {"Bearer token-1"}
        assert len(server.requests) == 1


async def test_a_token_that_is_refused_is_replaced_once(lone: Cluster, recorder: Recorder) -> None:
    async def only_the_second(call: Call) -> web.Response:
        return web.Response(status=200 if call.headers["authorization"] == "Bearer token-2" else 401)

    recorder.behaviours["sub-1"] = only_the_second
    async with issuing() as server:
        await lone.subscribe(recorder, "sub-1", endpoint=oauth2(server))
        await lone.produce([("sub-1", b"a"), ("sub-1", b"b")])
        await recorder.until(lambda: len(recorder.calls) == 3)
        assert [(call.body, call.attempt) for call in recorder.calls] == [(b"a", 1), (b"a", 2), (b"b", 1)]
        assert len(server.requests) == 2


async def test_no_event_is_lost_when_faust_restarts_its_fetcher(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path, recorder: Recorder
) -> None:
    """Faust then abandons a fetch whose records have already moved the position."""
    async with cluster(kafka, unique_name("restless"), tmp_path) as found:
        names = [f"sub-{number}" for number in range(4)]
        await found.subscribe(recorder, *names)
        worker = await found.start_worker(program="restless_worker.py")
        await found.until_ready(worker)
        for batch in range(10):
            await found.produce((name, b"%d" % (10 * batch + each)) for name in names for each in range(10))
        await recorder.until(lambda: len(recorder.calls) == 400, within_seconds=100)
        for name in names:
            assert [call.body for call in recorder.of(name)] == [b"%d" % number for number in range(100)]
        assert await worker.terminate() == 0


@pytest.mark.parametrize("qos", ["at-least-once", "auto"])
async def test_events_settled_after_the_offset_are_not_repeated(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path, recorder: Recorder, qos: str
) -> None:
    recorder.behaviours["slow"] = hang
    settings = {"HOLD_SECONDS": "600"}
    async with cluster(kafka, unique_name("crash"), tmp_path, qos=qos, settings=settings) as found:
        await found.subscribe(recorder, "slow", "sub-1")
        worker = await found.start_worker()
        await found.until_ready(worker)
        await found.produce([("slow", b""), *(("sub-1", b"%d" % number) for number in range(200))], partition=0)

        async def all_is_noted() -> bool:
            commit = (await kafka.commits(found.app, found.topic)).get(0)
            read = Committed(None) if commit is None else Committed.read(commit.offset, commit.metadata)
            return read.settled is not None and unpack(read.settled, read.offset or 0).bit_count() == 200

        await eventually(all_is_noted, within_seconds=30, says=lambda: str(recorder.counts()))
        await worker.kill()
        await found.produce([("sub-1", b"last")], partition=0)
        await found.until_ready(await found.start_worker())
        await recorder.until(lambda: len(recorder.of("slow")) == 2 and len(recorder.of("sub-1")) == 201)
        assert len(recorder.repeated()) == 1, "only the event that was in flight is repeated"
