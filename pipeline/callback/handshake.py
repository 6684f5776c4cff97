"""Asks a receiver whether it wants deliveries, before the first one: the abuse protection of CloudEvents webhooks.

    OPTIONS /hook                                   200
    WebHook-Request-Origin: events.example.com      WebHook-Allowed-Origin: events.example.com
    WebHook-Request-Rate: 120                       WebHook-Allowed-Rate: 100

A receiver is asked once per worker, URL and handshake, for all who wait; asked again after an edit of either, and after
a failure. The asynchronous form (WebHook-Request-Callback) is not offered.

Source: CloudEvents 1.0.2, "HTTP 1.1 Web Hooks for Event Delivery", section 4.
"""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from pipeline.callback.answer import Answer
from pipeline.model import BUSY_STATUSES, Event, Handshake, Subscription
from pipeline.outcome import Failed, NotPermitted, Outcome

MAX_REMEMBERED: Final = 10_000
"""Receivers whose permission is kept in mind; beyond it the oldest is asked again."""

_LONGEST_SHOWN: Final = 100
_SECONDS_PER_MINUTE: Final = 60.0


class Receiver(Protocol):
    """Who is asked, and who is called (callback.Callback)."""

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
    """Who keeps to a rate (pacing.Pacing)."""

    def allow(self, subscription_id: str, per_second: float | None) -> None:
        """The receiver allows so many calls per second; None: as many as one likes."""
        ...


@dataclass(frozen=True, slots=True)
class Permission:
    """The receiver wants deliveries: so many per second; None is as many as one likes."""

    per_second: float | None


_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

Verdict = Permission | NotPermitted | Failed


class Permitted:
    """A callback that asks for permission where a subscription wants it to; as the callback, it never raises.

    Args:
        receiver: is asked, and called.
        paces: is told which rate was allowed.
    """

    def __init__(self, receiver: Receiver, paces: Paces) -> None:
        self._receiver = receiver
        self._paces = paces
        self._known: dict[tuple[str, Handshake], Permission] = {}
        self._asking: dict[tuple[str, Handshake], asyncio.Task[Verdict]] = {}
        self._told: dict[str, Subscription] = {}

    def __call__(
        self, subscription: Subscription, event: Event, attempt: int, authorization: str | None = None
    ) -> Awaitable[Outcome]:
        """What happened in the attempt; for one that was not permitted, NotPermitted, and nothing was sent."""
        if subscription.handshake is None or self._told.get(subscription.id) is subscription:
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
        verdict = await self._verdict(subscription, handshake, authorization)
        if not isinstance(verdict, Permission):
            return verdict
        self._paces.allow(subscription.id, verdict.per_second)
        _remember(self._told, subscription.id, subscription)
        return await self._receiver(subscription, event, attempt, authorization)

    async def _verdict(self, subscription: Subscription, handshake: Handshake, authorization: str | None) -> Verdict:
        key = subscription.url, handshake
        if (known := self._known.get(key)) is not None:
            return known
        task = self._asking.get(key)
        if task is None:
            task = asyncio.create_task(
                self._ask(subscription, handshake, authorization), name=f"handshake of {subscription.id}"
            )
            self._asking[key] = task
            task.add_done_callback(lambda _task: self._asking.pop(key, None))
        # Whoever waits may be cancelled; the others still want to know.
        verdict = await asyncio.shield(task)
        if isinstance(verdict, Permission):
            _remember(self._known, key, verdict)
        return verdict

    async def _ask(self, subscription: Subscription, handshake: Handshake, authorization: str | None) -> Verdict:
        fields = {"WebHook-Request-Origin": handshake.origin}
        if handshake.rate_per_minute is not None:
            fields["WebHook-Request-Rate"] = str(handshake.rate_per_minute)
        answer = await self._receiver.ask(subscription, fields, authorization)
        return answer if isinstance(answer, Failed) else verdict_of(answer, handshake)


def verdict_of(answer: Answer, handshake: Handshake) -> Verdict:
    """What the answer to an OPTIONS request says about deliveries.

    What is no answer at all, 408, 425, 429 and 5xx say nothing: somebody will ask again.
    """
    status = answer.status
    if status in BUSY_STATUSES or status >= 500:  # noqa: PLR2004 - server errors
        return Failed(f"the callback answered {status} when it was asked for permission", may_have_arrived=False)
    if not 200 <= status < 300:  # noqa: PLR2004 - the successes of RFC 9110
        return NotPermitted(f"it answered {status} to OPTIONS")
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
    kept = "".join(character if character.isprintable() else " " for character in text[:_LONGEST_SHOWN])
    return f'"{kept}"'


def _remember(known: dict[_Key, _Value], key: _Key, value: _Value) -> None:
    if len(known) >= MAX_REMEMBERED and key not in known:
        del known[next(iter(known))]
    known[key] = value
