"""The authorization of an attempt."""

import asyncio
import inspect
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from pipeline.auth.authorization import Authorized
from pipeline.auth.token_cache import TokenCache
from pipeline.core.model import Event, PlainEvent
from pipeline.core.outcome import (
    Delivered,
    NotPermitted,
    Outcome,
    Rejected,
    ServerError,
    TokenRefused,
    TokenUnavailable,
)
from pipeline.core.subscription import Auth, BasicAuth, NoAuth, Subscription, TokenAuth
from tests.support.tokens import Issuer, ManualClock, MemoryStore, Tally, subscription, turns

EVENT = PlainEvent("events", 2, 41, b"s", b"{}")


@dataclass
class ScriptedCallback:
    """A callback with scripted answers, then 200. It stores the calls."""

    script: list[Outcome] = field(default_factory=list)
    calls: list[tuple[str, int, int, str | None]] = field(default_factory=list)

    async def __call__(
        self, subscription: Subscription, event: Event, attempt: int, authorization: str | None = None
    ) -> Outcome:
        self.calls.append((subscription.id, event.offset, attempt, authorization))
        return self.script.pop(0) if self.script else Delivered(200)

    @property
    def sent(self) -> list[str | None]:
        return [call[3] for call in self.calls]


@dataclass
class Bench:
    clock: ManualClock
    issuer: Issuer
    callback: ScriptedCallback
    send: Authorized


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    clock = ManualClock()
    issuer, callback = Issuer(clock), ScriptedCallback()
    tokens = TokenCache(issuer, MemoryStore(), clock, Tally())
    yield Bench(clock, issuer, callback, Authorized(callback, tokens))
    await tokens.close()


@pytest.mark.parametrize("auth", [NoAuth(), BasicAuth("user", "a-password"), TokenAuth("a-token")])
async def test_without_oauth2_the_callback_is_called_directly(bench: Bench, auth: Auth) -> None:
    plain = Subscription(id="p", revision=1, url="https://example.com", auth=auth)
    call = bench.send(plain, EVENT, 3)
    assert inspect.iscoroutine(call)
    assert call.cr_code is ScriptedCallback.__call__.__code__
    assert await call == Delivered(200)
    assert bench.callback.calls == [("p", 41, 3, None)]
    assert bench.issuer.asked == []


async def test_with_oauth2_each_attempt_carries_the_token(bench: Bench) -> None:
    s = subscription()
    assert [await bench.send(s, EVENT, attempt) for attempt in (1, 2)] == [Delivered(200)] * 2
    assert bench.callback.calls == [("s", 41, 1, "Bearer T1"), ("s", 41, 2, "Bearer T1")]


@pytest.mark.parametrize("failure", [TokenRefused("invalid_client"), TokenUnavailable("HTTP 503")])
async def test_without_a_token_the_callback_is_not_called(
    bench: Bench, failure: TokenRefused | TokenUnavailable
) -> None:
    bench.issuer.script = [failure]
    assert await bench.send(subscription(), EVENT, 1) == failure
    assert bench.callback.calls == []


async def test_after_a_401_the_event_is_sent_with_a_fresh_token(bench: Bench) -> None:
    s, refused = subscription(), Rejected(401, token_used=True)
    bench.callback.script = [refused]
    assert await bench.send(s, EVENT, 1) == refused
    assert await bench.send(s, EVENT, 2, renew_token=True) == Delivered(200)
    assert bench.callback.sent == ["Bearer T1", "Bearer T2"]


async def test_a_lane_whose_token_was_replaced_uses_the_new_token(bench: Bench) -> None:
    first, second = subscription("first"), subscription("second")
    bench.callback.script = [Rejected(401, token_used=True), Rejected(401, token_used=True)]
    await asyncio.gather(bench.send(first, EVENT, 1), bench.send(second, EVENT, 1))
    await bench.send(first, EVENT, 2, renew_token=True)
    await bench.send(second, EVENT, 2, renew_token=True)
    assert bench.callback.sent == ["Bearer T1", "Bearer T1", "Bearer T2", "Bearer T2"]
    assert len(bench.issuer.asked) == 2


async def test_after_an_unretried_401_the_next_event_has_a_fresh_token(bench: Bench) -> None:
    """At-most-once and none never use `renew_token`. A revoked token must not make all later events fail."""
    s = subscription()
    bench.callback.script = [Rejected(401, token_used=True)]
    await bench.send(s, EVENT, 1)
    await bench.send(s, PlainEvent("events", 2, 42, b"s", b"{}"), 1)
    assert bench.callback.sent == ["Bearer T1", "Bearer T2"]


async def test_a_handshake_answered_401_is_repeated_with_a_fresh_token(bench: Bench) -> None:
    bench.callback.script = [NotPermitted("401", token_refused=True)]
    assert await bench.send(subscription(), EVENT, 1) == Delivered(200)
    assert bench.callback.calls == [("s", 41, 1, "Bearer T1"), ("s", 41, 1, "Bearer T2")]


@pytest.mark.parametrize("renew_token", [False, True])
async def test_a_handshake_is_tried_with_at_most_two_tokens(bench: Bench, renew_token: bool) -> None:
    refused = NotPermitted("401", token_refused=True)
    bench.callback.script = [refused] * 3
    assert await bench.send(subscription(), EVENT, 1, renew_token=renew_token) == refused
    assert len(bench.callback.calls) == 1 + (not renew_token)


@pytest.mark.parametrize(
    "outcome", [Rejected(403, token_used=True), Rejected(404, token_used=True), ServerError(500), NotPermitted("405")]
)
async def test_only_a_401_replaces_the_token(bench: Bench, outcome: Outcome) -> None:
    s = subscription()
    bench.callback.script = [outcome]
    assert await bench.send(s, EVENT, 1) == outcome
    await bench.send(s, EVENT, 2)
    assert bench.callback.sent == ["Bearer T1", "Bearer T1"]


async def test_no_event_waits_for_an_early_renewal_of_its_token(bench: Bench) -> None:
    s = subscription()
    await bench.send(s, EVENT, 1)
    bench.clock.time += 3550
    bench.issuer.open.clear()
    assert await bench.send(s, EVENT, 1) == Delivered(200)
    bench.issuer.open.set()
    await turns()
    await bench.send(s, EVENT, 1)
    assert bench.callback.sent == ["Bearer T1", "Bearer T1", "Bearer T2"]
