"""The abuse protection of CloudEvents webhooks, against a real receiver."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

import pytest

from pipeline.core.clock import SystemClock
from pipeline.core.model import PlainEvent
from pipeline.core.outcome import Delivered, Failed, NotPermitted, Outcome
from pipeline.core.subscription import (
    BasicAuth,
    Handshake,
    Header,
    HttpLimits,
    Proxy,
    RetryPolicy,
    Subscription,
    TlsOptions,
)
from pipeline.http.handshake import REFUSAL_SECONDS, Permitted
from pipeline.http.webhook import Callback
from tests.support.calling import loopback_transport
from tests.support.receiver import Behaviour, Receiver, answer, hang_up, held, silent
from tests.support.tokens import ManualClock

ORIGIN = "events.example.com"
GRANTED = answer(200, headers=[("WebHook-Allowed-Origin", ORIGIN)])
PATIENT = HttpLimits(connect_timeout_seconds=20.0, read_timeout_seconds=20.0)
HASTY = replace(PATIENT, read_timeout_seconds=0.2)


@dataclass
class Bench:
    stack: AsyncExitStack
    permitted: Permitted
    allowed: list[tuple[str, float | None]]
    clock: ManualClock

    async def receiver(self, *script: Behaviour) -> Receiver:
        return await self.stack.enter_async_context(Receiver(*script))

    async def call(self, subscription: Subscription, authorization: str | None = None) -> Outcome:
        return await self.permitted(subscription, PlainEvent("events", 0, 1, b"s", b"body"), 1, authorization)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        transport = await stack.enter_async_context(loopback_transport(200))
        callback = Callback(transport, SystemClock(), user_agent="test/1", on_header_left_out=lambda _id, _name: None)
        allowed: list[tuple[str, float | None]] = []
        clock = ManualClock()
        permitted = Permitted(callback, lambda *rate: allowed.append(rate), clock)
        stack.push_async_callback(permitted.close)
        yield Bench(stack, permitted, allowed, clock)


def asking(receiver: Receiver, name: str = "s", rate: int | None = None, **changes: object) -> Subscription:
    plain = Subscription(name, 1, receiver.url, handshake=Handshake(ORIGIN, rate), http=PATIENT)
    return replace(plain, **changes)  # type: ignore[arg-type]  # the test names the fields


def methods(receiver: Receiver) -> Sequence[str]:
    return [request.line.partition(" ")[0] for request in receiver.requests]


async def test_permission_is_asked_once_before_the_first_delivery(bench: Bench) -> None:
    receiver = await bench.receiver(GRANTED, answer(200))
    subscription = asking(
        receiver, auth=BasicAuth("user", "secret"), headers=(Header("X-Key", "k"), Header("Content-Type", "text/plain"))
    )
    for _ in range(3):
        assert await bench.call(subscription) == Delivered(200)
    assert methods(receiver) == ["OPTIONS", "POST", "POST", "POST"]
    question = receiver.requests[0]
    assert question.line == receiver.requests[1].line.replace("POST", "OPTIONS")
    assert question.header("webhook-request-origin") == ORIGIN
    assert question.header("webhook-request-rate") is None
    assert question.header("webhook-id") is None
    assert question.header("content-type") is None
    assert question.header("x-key") == "k"
    assert question.header("authorization") == receiver.requests[1].header("authorization") is not None
    assert question.body == b""


async def test_every_request_has_one_header_with_the_origin(bench: Bench) -> None:
    receiver = await bench.receiver(GRANTED, answer(503), answer(200))
    given = (Header("WebHook-Request-Origin", "other.example"),)
    for name in ("s", "s", "other"):
        await bench.call(asking(receiver, name, headers=given))
    assert methods(receiver) == ["OPTIONS", "POST", "POST", "POST"]
    assert [request.all("webhook-request-origin") for request in receiver.requests] == [[ORIGIN]] * 4


async def test_without_a_handshake_no_permission_is_asked_for(bench: Bench) -> None:
    receiver = await bench.receiver(answer(200))
    assert await bench.call(asking(receiver, handshake=None)) == Delivered(200)
    assert methods(receiver) == ["POST"]
    assert receiver.requests[0].header("webhook-request-origin") is None


async def test_a_handshake_carries_the_access_token(bench: Bench) -> None:
    receiver = await bench.receiver(GRANTED, answer(200))
    assert await bench.call(asking(receiver), "Bearer T1") == Delivered(200)
    assert [request.header("authorization") for request in receiver.requests] == ["Bearer T1"] * 2


@pytest.mark.parametrize(
    ("asked", "allowed", "per_second"),
    [(None, None, None), (None, "*", None), (120, "60", 1.0), (120, None, 2.0), (120, "*", None), (None, " 30 ", 0.5)],
)
async def test_deliveries_obey_the_allowed_rate(
    bench: Bench, asked: int | None, allowed: str | None, per_second: float | None
) -> None:
    headers = [("WebHook-Allowed-Origin", "*")] + ([] if allowed is None else [("WebHook-Allowed-Rate", allowed)])
    receiver = await bench.receiver(answer(204, headers=headers), answer(200))
    assert await bench.call(asking(receiver, rate=asked)) == Delivered(200)
    assert receiver.requests[0].header("webhook-request-rate") == (None if asked is None else str(asked))
    assert bench.allowed == [("s", per_second)]


def origin(value: str, rate: str | None = None) -> Behaviour:
    headers = [("WebHook-Allowed-Origin", value)]
    return answer(200, headers=headers if rate is None else [*headers, ("WebHook-Allowed-Rate", rate)])


@pytest.mark.parametrize(
    ("behaviour", "word"),
    [
        (answer(200), "without WebHook-Allowed-Origin"),
        (origin("other.example"), 'allows the origin "other.example", not "events.example.com"'),
        (answer(405), "answered 405 to OPTIONS"),
        (answer(404), "answered 404"),
        (answer(301, headers=[("Location", "http://127.0.0.1:1/")]), "answered 301"),
        (origin(ORIGIN, "0"), 'WebHook-Allowed-Rate is "0"'),
        (origin(ORIGIN, "fast"), 'WebHook-Allowed-Rate is "fast"'),
        (origin(ORIGIN, "9" * 50), "WebHook-Allowed-Rate is"),
    ],
)
async def test_an_answer_without_permission_permits_no_delivery(bench: Bench, behaviour: Behaviour, word: str) -> None:
    receiver = await bench.receiver(behaviour)
    outcome = await bench.call(asking(receiver))
    assert isinstance(outcome, NotPermitted)
    assert word in outcome.error
    assert methods(receiver) == ["OPTIONS"]


@pytest.mark.parametrize(
    "trouble", [answer(503), answer(429), hang_up, silent], ids=["503", "429", "hang up", "silent"]
)
async def test_after_a_failed_handshake_the_next_attempt_repeats_it(bench: Bench, trouble: Behaviour) -> None:
    receiver = await bench.receiver(trouble, origin(ORIGIN.upper()), answer(200))
    outcome = await bench.call(asking(receiver, http=HASTY if trouble is silent else PATIENT))
    assert isinstance(outcome, Failed)
    assert not outcome.may_have_arrived
    assert await bench.call(asking(receiver)) == Delivered(200)
    assert methods(receiver) == ["OPTIONS", "OPTIONS", "POST"]


async def test_an_edit_after_a_refusal_repeats_the_handshake_at_once(bench: Bench) -> None:
    receiver = await bench.receiver(answer(405), GRANTED, answer(200))
    subscription = asking(receiver)
    assert isinstance(await bench.call(subscription), NotPermitted)
    assert await bench.call(replace(subscription, revision=2)) == Delivered(200)


async def test_a_refusal_applies_to_all_events_for_a_while(bench: Bench) -> None:
    receiver = await bench.receiver(answer(405), GRANTED, answer(200))
    subscription = asking(receiver)
    first = await bench.call(subscription)
    bench.clock.time += REFUSAL_SECONDS - 1
    assert await bench.call(subscription) == first
    assert methods(receiver) == ["OPTIONS"]
    bench.clock.time += 1
    assert await bench.call(subscription) == Delivered(200)


async def test_a_refusal_does_not_apply_after_the_clock_was_set_back(bench: Bench) -> None:
    receiver = await bench.receiver(answer(405), GRANTED, answer(200))
    subscription = asking(receiver)
    assert isinstance(await bench.call(subscription), NotPermitted)
    bench.clock.time -= 1
    assert await bench.call(subscription) == Delivered(200)


async def test_a_401_in_the_handshake_is_about_the_access_token(bench: Bench) -> None:
    receiver = await bench.receiver(answer(401), GRANTED, answer(200))
    subscription = asking(receiver)
    refused = await bench.call(subscription, "Bearer T1")
    assert isinstance(refused, NotPermitted)
    assert refused.token_refused
    assert await bench.call(subscription, "Bearer T2") == Delivered(200)


async def test_a_refused_token_is_not_used_for_another_handshake(bench: Bench) -> None:
    """At level none, the next events may be sent before the refused token is renewed."""
    receiver = await bench.receiver(answer(401))
    subscription = asking(receiver)
    for _ in range(3):
        refused = await bench.call(subscription, "Bearer T1")
        assert isinstance(refused, NotPermitted)
        assert refused.token_refused
    assert methods(receiver) == ["OPTIONS"]


async def test_a_401_to_fixed_credentials_is_a_refusal(bench: Bench) -> None:
    receiver = await bench.receiver(answer(401))
    refused = await bench.call(asking(receiver, auth=BasicAuth("user", "secret")))
    assert refused == NotPermitted("it answered 401 to OPTIONS")


async def test_other_credentials_need_a_separate_handshake(bench: Bench) -> None:
    """The answer to one subscription's password must not apply to another subscription."""
    receiver = await bench.receiver(held(answer(401)), GRANTED, answer(200))
    wrong = asking(receiver, name="wrong", auth=BasicAuth("user", "wrong"))
    right = asking(receiver, name="right", auth=BasicAuth("user", "right"))
    refused = asyncio.ensure_future(bench.call(wrong))
    await receiver.until(lambda it: len(it.requests) == 1)
    assert await bench.call(right) == Delivered(200)
    receiver.release()
    assert isinstance(await refused, NotPermitted)
    assert methods(receiver) == ["OPTIONS", "OPTIONS", "POST"]


async def test_attempts_that_wait_share_one_handshake(bench: Bench) -> None:
    receiver = await bench.receiver(held(GRANTED), answer(200))
    subscriptions = [asking(receiver, name=f"s{number}") for number in range(50)]
    calls = [asyncio.ensure_future(bench.call(subscription)) for subscription in subscriptions]
    await receiver.until(lambda it: len(it.requests) == 1)
    calls[0].cancel()
    receiver.release()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert outcomes[1:] == [Delivered(200)] * 49
    assert isinstance(outcomes[0], asyncio.CancelledError)
    assert methods(receiver).count("OPTIONS") == 1


@pytest.mark.parametrize(
    ("edit", "asks"),
    [
        ({"retry": RetryPolicy(max_attempts=9)}, False),
        ({"signing_secrets": ("whsec_" + "c2VjcmV0" * 4,)}, False),
        ({"handshake": Handshake("new.example")}, True),
        ({"handshake": Handshake(ORIGIN, 5)}, True),
        ({"auth": BasicAuth("user", "new")}, True),
        ({"headers": (Header("X-Api-Key", "new"),)}, True),
        ({"tls": TlsOptions(verify_hostname=False)}, True),
        ({"use_system_proxy": True}, True),
        ({"handshake": None}, False),
    ],
    ids=str,
)
async def test_only_an_edit_that_changes_the_handshake_repeats_it(
    bench: Bench, edit: dict[str, Any], asks: bool
) -> None:
    receiver = await bench.receiver(origin("*"))
    first = asking(receiver)
    await bench.call(first)
    await bench.call(replace(first, revision=2, **edit))
    assert methods(receiver) == ["OPTIONS", "POST", *(["OPTIONS"] if asks else []), "POST"]


async def test_an_edit_of_the_proxy_repeats_the_handshake(bench: Bench) -> None:
    receiver, proxy = await bench.receiver(origin("*")), await bench.receiver(origin("*"))
    first = asking(receiver)
    await bench.call(first)
    await bench.call(replace(first, revision=2, proxy=Proxy(proxy.url)))
    assert [methods(receiver), methods(proxy)] == [["OPTIONS", "POST"]] * 2


async def test_after_an_edit_the_newly_allowed_rate_applies(bench: Bench) -> None:
    receiver = await bench.receiver(origin("*", "60"), answer(200), origin("*", "30"), answer(200))
    await bench.call(asking(receiver))
    await bench.call(asking(receiver, rate=90))
    assert bench.allowed == [("s", 1.0), ("s", 0.5)]


async def test_an_edit_of_the_url_repeats_the_handshake(bench: Bench) -> None:
    receiver = await bench.receiver(origin("*"))
    first = asking(receiver)
    await bench.call(first)
    await bench.call(replace(first, revision=2, url=f"{receiver.url}/other"))
    assert methods(receiver) == ["OPTIONS", "POST", "OPTIONS", "POST"]
    assert receiver.requests[2].line == receiver.requests[3].line.replace("POST", "OPTIONS")


async def test_closing_during_a_handshake_leaves_no_task(bench: Bench) -> None:
    receiver = await bench.receiver(silent)
    call = asyncio.ensure_future(bench.call(asking(receiver, http=HttpLimits())))
    await receiver.until(lambda it: len(it.requests) == 1)
    await bench.permitted.close()
    with pytest.raises(asyncio.CancelledError):
        await call
