"""Asks a receiver whether it wants deliveries, before the first one: the abuse protection of CloudEvents webhooks.

    OPTIONS /hook                                   200
    WebHook-Request-Origin: events.example.com      WebHook-Allowed-Origin: events.example.com
    WebHook-Request-Rate: 120                       WebHook-Allowed-Rate: 100

The origin stands in every request to the callback, deliveries too (webhook.py).
A worker asks once for all subscriptions with the same question, and keeps a permission for as long as it runs. It asks
again after an edit of what the question is made of, after a failure, and after a refusal when the subscription is
resumed. The asynchronous form (WebHook-Request-Callback) is not offered.

Source: CloudEvents 1.0.2, "HTTP 1.1 Web Hooks for Event Delivery", section 4.
"""

import asyncio
from collections.abc import Awaitable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from pipeline.core.bounded import Bounded
from pipeline.core.clock import Clock
from pipeline.core.model import Event
from pipeline.core.outcome import Failed, NotPermitted, Outcome
from pipeline.core.shown import one_line
from pipeline.core.subscription import BUSY_STATUSES, Handshake, Subscription
from pipeline.http.response import Answer

MAX_REMEMBERED: Final = 50_000
"""Permissions that are kept in mind; beyond it the oldest is asked for again."""

REFUSAL_SECONDS: Final = 60.0
"""How long a refusal does for all events of a revision: at QoS none one event follows the other."""

_LONGEST_SHOWN: Final = 100
_UNAUTHORIZED: Final = 401
_SECONDS_PER_MINUTE: Final = 60.0


class AskingCallback(Protocol):
    """Who is asked, and who is called (webhook.Callback)."""

    def __call__(
        self, subscription: Subscription, event: Event, attempt: int, authorization: str | None = None
    ) -> Awaitable[Outcome]:
        """One attempt."""
        ...

    async def ask(
        self, subscription: Subscription, fields: Mapping[str, str], authorization: str | None
    ) -> Answer | Failed:
        """An OPTIONS request with *fields*, and the credentials of an attempt."""
        ...


class Paces(Protocol):
    """Who keeps to a rate (core/rate_limit.py)."""

    def allow(self, subscription_id: str, per_second: float | None) -> None:
        """The receiver allows so many calls per second; None: as many as one likes."""
        ...


@dataclass(frozen=True, slots=True)
class Permission:
    """The receiver wants deliveries: so many per second; None is as many as one likes."""

    per_second: float | None


@dataclass(frozen=True, slots=True)
class _Refusal:
    """What a revision of a subscription was answered, in Unix seconds.

    Attributes:
        token: that went with the question, if the answer speaks of it alone.
    """

    subscription: Subscription
    answer: NotPermitted
    at: float
    token: str | None = field(repr=False)


Verdict = Permission | NotPermitted | Failed


class Permitted:
    """A callback that asks for permission where a subscription wants it to; as the callback, it never raises.

    Args:
        receiver: is asked, and called.
        paces: is told which rate was allowed.
        clock: tells how old a refusal is.
    """

    def __init__(self, receiver: AskingCallback, paces: Paces, clock: Clock) -> None:
        self._receiver = receiver
        self._paces = paces
        self._clock = clock
        self._permissions: Bounded[Hashable, Permission] = Bounded(MAX_REMEMBERED)
        self._asking: dict[Hashable, asyncio.Task[Verdict]] = {}
        self._permitted: Bounded[str, Subscription] = Bounded(MAX_REMEMBERED)
        self._refusals: Bounded[str, _Refusal] = Bounded(MAX_REMEMBERED)

    def __call__(
        self, subscription: Subscription, event: Event, attempt: int, authorization: str | None = None
    ) -> Awaitable[Outcome]:
        """What happened in the attempt; for one that was not permitted, NotPermitted, and nothing was sent."""
        if subscription.handshake is None or self._permitted.get(subscription.id) is subscription:
            return self._receiver(subscription, event, attempt, authorization)
        return self._call(subscription, subscription.handshake, event, attempt, authorization)

    async def close(self) -> None:
        """End the questions under way."""
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    async def _call(
        self, subscription: Subscription, handshake: Handshake, event: Event, attempt: int, authorization: str | None
    ) -> Outcome:
        verdict = self._refusal(subscription, authorization) or await self._verdict(
            subscription, handshake, authorization
        )
        if not isinstance(verdict, Permission):
            return verdict
        self._paces.allow(subscription.id, verdict.per_second)
        self._permitted[subscription.id] = subscription
        return await self._receiver(subscription, event, attempt, authorization)

    def _refusal(self, subscription: Subscription, authorization: str | None) -> NotPermitted | None:
        refusal = self._refusals.get(subscription.id)
        if refusal is None or refusal.subscription is not subscription:
            return None
        if refusal.token is not None and refusal.token != authorization:
            return None
        # A clock that was set back makes nothing recent.
        return refusal.answer if 0.0 <= self._clock.now() - refusal.at < REFUSAL_SECONDS else None

    async def _verdict(self, subscription: Subscription, handshake: Handshake, authorization: str | None) -> Verdict:
        question = _question(subscription)
        if (known := self._permissions.get(question)) is not None:
            return known
        task = self._asking.get(question)
        if task is None:
            task = asyncio.create_task(
                self._ask(subscription, handshake, authorization), name=f"handshake of {subscription.id}"
            )
            self._asking[question] = task
            task.add_done_callback(lambda _task: self._asking.pop(question, None))
        # Whoever waits may be cancelled; the others still want to know.
        verdict = await asyncio.shield(task)
        if isinstance(verdict, Permission):
            self._permissions[question] = verdict
        elif isinstance(verdict, NotPermitted):
            token = authorization if verdict.token_refused else None
            self._refusals[subscription.id] = _Refusal(subscription, verdict, self._clock.now(), token)
        return verdict

    async def _ask(self, subscription: Subscription, handshake: Handshake, authorization: str | None) -> Verdict:
        rate = handshake.rate_per_minute
        fields = {} if rate is None else {"WebHook-Request-Rate": str(rate)}
        answer = await self._receiver.ask(subscription, fields, authorization)
        if isinstance(answer, Failed):
            return answer
        return verdict_of(answer, handshake, token_used=authorization is not None)


def _question(subscription: Subscription) -> Hashable:
    """All that the question is made of, and the way it takes: where these are equal, so is the answer."""
    return (
        subscription.url,
        subscription.handshake,
        subscription.auth,
        subscription.headers,
        subscription.tls,
        subscription.proxy,
        subscription.use_system_proxy,
    )


def verdict_of(answer: Answer, handshake: Handshake, *, token_used: bool = False) -> Verdict:
    """What the answer to an OPTIONS request says about deliveries.

    What is no answer at all, 408, 425, 429 and 5xx say nothing: somebody will ask again.

    Args:
        answer: of the receiver.
        handshake: what it was asked.
        token_used: an OAuth2 access token went with the question, which a 401 then speaks about.
    """
    status = answer.status
    if status in BUSY_STATUSES or status >= 500:  # noqa: PLR2004 - server errors
        return Failed(f"the callback answered {status} when it was asked for permission", may_have_arrived=False)
    if not 200 <= status < 300:  # noqa: PLR2004 - the successes of RFC 9110
        return NotPermitted(f"it answered {status} to OPTIONS", token_refused=token_used and status == _UNAUTHORIZED)
    allowed = answer.headers.get("WebHook-Allowed-Origin")
    if allowed is None:
        return NotPermitted("it answered OPTIONS without WebHook-Allowed-Origin")
    if allowed.strip() != "*" and allowed.strip().lower() != handshake.origin.lower():
        return NotPermitted(f"it allows the origin {_shown(allowed)}, not {_shown(handshake.origin)}")
    return _permission(answer.headers.get("WebHook-Allowed-Rate"), handshake)


def _permission(rate: str | None, handshake: Handshake) -> Permission | NotPermitted:
    asked = handshake.rate_per_minute
    if rate is None:
        # It has to answer a question for a rate; where it doesn't, the rate that was asked for is as far as one may go.
        return Permission(None if asked is None else asked / _SECONDS_PER_MINUTE)
    text = rate.strip()
    if text == "*":
        return Permission(None)
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):  # noqa: PLR2004 - digits
        return NotPermitted(f"its WebHook-Allowed-Rate is {_shown(rate)}; allowed: * or a positive number per minute")
    return Permission(int(text) / _SECONDS_PER_MINUTE)


def _shown(text: str) -> str:
    return f'"{one_line(text[:_LONGEST_SHOWN])}"'
