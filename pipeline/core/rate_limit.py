"""How fast a callback may be called: the rate that was agreed, and a slow start after it was busy. Pure.

    rate       a token bucket: what the subscription or the receiver's handshake allows
    slow start after 429 or 503 a gap between two calls: doubled while it stays busy, less with each other answer
    hold       until the moment that a `Retry-After` named, for all events of the subscription

A new revision, and so a resume, ends slow start and hold: who says "go on" knows more than the last answer.

Delivery asks for a turn before each attempt and tells what came of it. One event loop, no locks, no waiting in here;
times are seconds of any clock that only goes forward. What is kept is a worker's own: it begins anew elsewhere.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Final

from pipeline.core.outcome import Delivered, Outcome, Rejected, ServerError
from pipeline.core.policy import longest_wait
from pipeline.core.subscription import BUSY_STATUSES, Rate, Subscription

FIRST_GAP_SECONDS: Final = 0.5
"""Between two calls, after the first time that the receiver was busy; never more than the policy's longest delay."""

GAP_FACTOR: Final = 0.75
"""What another answer leaves of the gap: from half a second to nothing it is some fifteen of them."""

NO_GAP_SECONDS: Final = 0.01
"""A gap below this is over."""

MAX_PACES: Final = 50_000
"""Subscriptions that are kept in mind; beyond it the oldest without an allowed rate begins anew."""

_TOO_MANY_REQUESTS: Final = 429
_SERVICE_UNAVAILABLE: Final = 503


@dataclass(frozen=True, slots=True)
class SlowStart:
    """How a receiver that was busy is spared.

    Attributes:
        revision: of the subscription; another one ends it.
        per_second: calls at most; None if only its `Retry-After` is waited for.
        until: no call before, seconds of the clock that the limits are asked with, or Unix seconds where that is said.
    """

    revision: int
    per_second: float | None
    until: float


@dataclass(slots=True)
class _Pace:
    """One subscription's.

    Attributes:
        rate: of the subscription; *allowed*: per second, by the handshake; None is no such limit.
        tokens: calls that may be made at once, as of *filled_at*.
        gap: between two calls, while the receiver recovers; *widened_at*: when it last grew.
        last_at: of the last call.
        held_until: no call before.
        slowed_at: the revision of the subscription when its receiver was last busy.
    """

    rate: Rate | None
    allowed: float | None = None
    tokens: float = 1.0
    filled_at: float = 0.0
    gap: float = 0.0
    widened_at: float = 0.0
    last_at: float = float("-inf")
    held_until: float = float("-inf")
    slowed_at: int = -1

    def is_idle(self, now: float) -> bool:
        """It limits nothing now."""
        return self.rate is None and self.allowed is None and not self.gap and self.held_until <= now

    def limit(self) -> tuple[float, int] | None:
        """Calls per second and burst: the lower of what was wished and what was allowed."""
        if self.rate is None:
            return None if self.allowed is None else (self.allowed, 1)
        per_second = self.rate.per_second
        return (per_second if self.allowed is None else min(per_second, self.allowed)), self.rate.burst

    def wait(self, now: float, share: float = 1.0) -> float:
        """Seconds until the next call may be made, at a *share* of the rate."""
        until = max(self.held_until, self.last_at + self.gap) if self.gap else self.held_until
        limit = self.limit()
        if limit is None:
            return until - now
        per_second, burst = limit[0] * share, limit[1]
        # A clock that seems to go back fills nothing.
        self.tokens = min(float(burst), self.tokens + max(0.0, now - self.filled_at) * per_second)
        self.filled_at = now
        return max(until - now, (1.0 - self.tokens) / per_second)

    def slow_start(self, now: float) -> SlowStart | None:
        """How it spares its receiver; None if it does not."""
        until = max(self.held_until, self.last_at + self.gap)
        if not self.gap and until <= now:
            return None
        return SlowStart(self.slowed_at, 1 / self.gap if self.gap else None, until)

    def begin_anew(self) -> None:
        """End slow start and hold; the rate stays."""
        self.gap = 0.0
        self.held_until = float("-inf")

    def take(self, now: float) -> None:
        """A call is made."""
        self.last_at = now
        self.tokens = max(0.0, self.tokens - 1.0)


def _all_of_it() -> float:
    return 1.0


class RateLimits:
    """The paces of a worker's subscriptions; those that nothing slows down cost one look into a dictionary.

    Args:
        share: what of each rate is this worker's, above 0 and up to 1. With `routing: match` a subscription gets events
            in every partition, and the workers share its rate in proportion to the partitions that they own.
    """

    def __init__(self, share: Callable[[], float] = _all_of_it) -> None:
        self._share = share
        self._paces: dict[str, _Pace] = {}
        self._slowed: dict[str, None] = {}  # and some that are slow no more

    def turn(self, subscription: Subscription, now: float) -> float:
        """0 if *subscription* may be called now, and then that call counts; else how many seconds it is too early."""
        pace = self._paces.get(subscription.id)
        rate = subscription.rate
        if pace is None:
            if rate is None:
                return 0.0
            pace = self._add(subscription.id, _Pace(rate, tokens=float(rate.burst), filled_at=now))
        elif pace.rate != rate:
            pace.rate = rate
            pace.tokens = 1.0
        if pace.slowed_at != subscription.revision:
            pace.begin_anew()
        if subscription.handshake is None:
            # Nobody asks the receiver any more.
            pace.allowed = None
        wait = pace.wait(now, self._share())
        # Rounding must not make somebody wait for less than a clock can tell.
        if wait > 1e-6:  # noqa: PLR2004 - a microsecond
            return wait
        pace.take(now)
        return 0.0

    def saw(self, subscription: Subscription, outcome: Outcome, now: float) -> None:
        """What came of a call."""
        if isinstance(outcome, Rejected | ServerError) and outcome.status in {_TOO_MANY_REQUESTS, _SERVICE_UNAVAILABLE}:
            self._slow_down(subscription, outcome.retry_after_seconds, now)
        elif isinstance(outcome, Delivered) or (isinstance(outcome, Rejected) and outcome.status not in BUSY_STATUSES):
            # Whoever turns an event down has looked at it: it is not busy any more.
            pace = self._paces.get(subscription.id)
            if pace is not None and pace.gap:
                self._recover(subscription.id, pace, now)

    def slow_start(self, subscription_id: str, now: float) -> SlowStart | None:
        """How the receiver of a subscription is spared; None if it is not."""
        pace = self._paces.get(subscription_id)
        return None if pace is None else pace.slow_start(now)

    def slow_starts(self, now: float, most: int) -> dict[str, SlowStart]:
        """Up to so many subscriptions whose receivers are spared."""
        found: dict[str, SlowStart] = {}
        for name in list(islice(self._slowed, most)):
            slow = self.slow_start(name, now)
            if slow is None:
                del self._slowed[name]
            else:
                found[name] = slow
        return found

    def allow(self, subscription_id: str, per_second: float | None) -> None:
        """The receiver allows so many calls per second; None: as many as one likes."""
        pace = self._paces.get(subscription_id)
        if pace is None:
            if per_second is None:
                return
            pace = self._add(subscription_id, _Pace(None))
        pace.allowed = per_second

    def _add(self, subscription_id: str, pace: _Pace) -> _Pace:
        if len(self._paces) >= MAX_PACES:
            # What a receiver allowed is said once: that one is not forgotten.
            oldest = next((each for each, known in self._paces.items() if known.allowed is None), None)
            if oldest is not None:
                del self._paces[oldest]
                self._slowed.pop(oldest, None)
        self._paces[subscription_id] = pace
        return pace

    def _recover(self, subscription_id: str, pace: _Pace, now: float) -> None:
        pace.gap *= GAP_FACTOR
        if pace.gap < NO_GAP_SECONDS:
            pace.gap = 0.0
            if pace.is_idle(now):
                del self._paces[subscription_id]

    def _slow_down(self, subscription: Subscription, retry_after_seconds: float | None, now: float) -> None:
        pace = self._paces.get(subscription.id) or self._add(subscription.id, _Pace(subscription.rate))
        pace.slowed_at = subscription.revision
        self._slowed[subscription.id] = None
        retry = subscription.retry
        if retry_after_seconds is not None:
            pace.held_until = max(pace.held_until, now + min(retry_after_seconds, longest_wait(retry)))
        # Several calls that were under way at once are one sign, not many.
        elif not pace.gap or now - pace.widened_at >= pace.gap:
            pace.gap = min(max(2 * pace.gap, FIRST_GAP_SECONDS), retry.max_delay_seconds)
            pace.widened_at = now
            pace.held_until = max(pace.held_until, now + pace.gap)
