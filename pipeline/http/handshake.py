"""Asks a receiver for permission before the first delivery: the abuse protection of CloudEvents webhooks.

    OPTIONS /hook                                   200
    WebHook-Request-Origin: events.example.com      WebHook-Allowed-Origin: events.example.com
    WebHook-Request-Rate: 120                       WebHook-Allowed-Rate: 100

Deliveries also contain the origin (request.py). Subscriptions with the same question share one OPTIONS request and its
permission. A worker keeps the permission as long as it runs. The worker asks again after a failure, when an edit
changes the question, and when a refused subscription is resumed. The asynchronous form (WebHook-Request-Callback) is
not supported.

Source: CloudEvents 1.0.2, "HTTP 1.1 Web Hooks for Event Delivery", section 4.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
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
"""The most permissions that are kept. A new one replaces the oldest, which has to be asked for again."""

REFUSAL_SECONDS: Final = 60.0
"""How long a refusal applies to all events of a revision.

Without this time, QoS none would ask again for each event.
"""

_LONGEST_SHOWN: Final = 100
_UNAUTHORIZED: Final = 401
_SECONDS_PER_MINUTE: Final = 60.0


class AskingCallback(Protocol):
    """A callback that can be asked for permission (webhook.Callback)."""

    def __call__(
        self, subscription: Subscription, event: Event, attempt: int, authorization: str | None = None
    ) -> Awaitable[Outcome]:
        """Make one attempt, and return its outcome."""

    async def ask(
        self, subscription: Subscription, fields: Mapping[str, str], authorization: str | None
    ) -> Answer | Failed:
        """The answer to an OPTIONS request with the headers *fields* and the credentials of an attempt."""


@dataclass(frozen=True, slots=True)
class Permission:
    """Permission for this many deliveries per second; None: no limit."""

    per_second: float | None


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A refusal, and the revision of the subscription that was refused.

    Attributes:
        at: when the receiver refused, Unix seconds.
        token: the token that was sent with the question, if the refusal is only about the token.
    """

    subscription: Subscription
    answer: NotPermitted
    at: float
    token: str | None = field(repr=False)


Verdict = Permission | NotPermitted | Failed


class Permitted:
    """A callback that asks for permission first if the subscription has a handshake. Never raises.

    Args:
        receiver: asks receivers for permission, and calls them.
        allow: called with the id of a subscription and the calls per second that its receiver allows; None: no limit.
        clock: tells the age of a refusal.
    """

    def __init__(self, receiver: AskingCallback, allow: Callable[[str, float | None], None], clock: Clock) -> None:
        self._receiver = receiver
        self._allow = allow
        self._clock = clock
        self._permissions: Bounded[Hashable, Permission] = Bounded(MAX_REMEMBERED)
        self._asking: dict[Hashable, asyncio.Task[Verdict]] = {}
        self._permitted: Bounded[str, Subscription] = Bounded(MAX_REMEMBERED)
        self._refusals: Bounded[str, _Refusal] = Bounded(MAX_REMEMBERED)

    def __call__(
        self, subscription: Subscription, event: Event, attempt: int, authorization: str | None = None
    ) -> Awaitable[Outcome]:
        """The outcome; `NotPermitted` if nothing was sent for lack of permission."""
        if subscription.handshake is None or self._permitted.get(subscription.id) is subscription:
            return self._receiver(subscription, event, attempt, authorization)
        return self._call(subscription, subscription.handshake, event, attempt, authorization)

    async def close(self) -> None:
        """Cancel the questions under way."""
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
        self._allow(subscription.id, verdict.per_second)
        self._permitted[subscription.id] = subscription
        return await self._receiver(subscription, event, attempt, authorization)

    def _refusal(self, subscription: Subscription, authorization: str | None) -> NotPermitted | None:
        refusal = self._refusals.get(subscription.id)
        if refusal is None or refusal.subscription is not subscription:
            return None
        if refusal.token is not None and refusal.token != authorization:
            return None
        # If the clock was set back, the refusal does not count as recent.
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
        # Cancelling one waiter must not cancel the question, because others may wait for it too.
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
    """Everything that determines the question and its route. Subscriptions with equal questions share the answer."""
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
    """The meaning of the answer to an OPTIONS request.

    After 408, 425, 429 and 5xx, the next attempt asks again.

    Args:
        answer: the receiver's answer.
        handshake: the question.
        token_used: whether an OAuth2 access token was sent with the question, so that a 401 is about the token.
    """
    status = answer.status
    if status in BUSY_STATUSES or status >= 500:  # noqa: PLR2004 - server errors
        return Failed(f"the callback answered {status} when asked for permission", may_have_arrived=False)
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
        # If the question had a rate and the answer has none, the requested rate is the limit.
        return Permission(None if asked is None else asked / _SECONDS_PER_MINUTE)
    text = rate.strip()
    if text == "*":
        return Permission(None)
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):  # noqa: PLR2004 - digits
        return NotPermitted(f"its WebHook-Allowed-Rate is {_shown(rate)}; allowed: * or a positive number per minute")
    return Permission(int(text) / _SECONDS_PER_MINUTE)


def _shown(text: str) -> str:
    return f'"{one_line(text[:_LONGEST_SHOWN])}"'
