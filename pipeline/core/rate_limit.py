"""Limits how fast a callback is called: by its rate, and by a slow start after the receiver was busy. Pure.

    rate       a token bucket, with the rate of the subscription or of the receiver's handshake
    slow start after 429 or 503, a gap between two calls: each further 429 or 503 doubles it; answers below 500, other
               than 408, 425 and 429, reduce it
    hold       no call of the subscription before the time that the `Retry-After` of a 429 or 503 asked for

A new revision, such as a resume, ends slow start and hold, because its author may know that the receiver has recovered.

`Delivery` calls `turn` before each attempt and `saw` after it. Nothing here waits or locks; times are seconds of a
monotonic clock. Each worker has its own state, which does not survive a restart.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import islice
from typing import Final

from pipeline.core.outcome import Delivered, Outcome, Rejected, ServerError
from pipeline.core.policy import longest_wait
from pipeline.core.subscription import BUSY_STATUSES, Rate, Subscription

FIRST_GAP_SECONDS: Final = 0.5
"""The first gap between two calls, unless the policy's longest delay is shorter."""

GAP_FACTOR: Final = 0.75
"""Each answer from a receiver that is not busy multiplies the gap by this factor (see `RateLimits.saw`).

About fifteen answers end a gap of half a second.
"""

NO_GAP_SECONDS: Final = 0.01
"""A gap shorter than this ends the slow start."""

MAX_PACES: Final = 50_000
"""The largest number of subscriptions that are tracked.

A new one replaces the oldest one that has no rate from a handshake.
"""

_TOO_MANY_REQUESTS: Final = 429
_SERVICE_UNAVAILABLE: Final = 503


def share_by_partitions(owned: int, counts: Collection[int]) -> float:
    """A worker's share of a rate, in proportion to its partitions: a subscription's events may be in all of them.

    Args:
        owned: how many partitions the worker owns.
        counts: how many partitions each source topic has, if that is known.
    """
    total = sum(counts)
    return min(1.0, max(1, owned) / total) if total else 1.0


def share_by_sizes(owned: int, counts: Collection[int]) -> float:
    """A worker's share of a rate if a subscription's events have one key.

    In topics with equally many partitions, these events are in partitions with the same number, and therefore on one
    worker. With n different sizes of topics, they are on at most n workers, and each worker gets 1/n of the rate. For
    the arguments, see `share_by_partitions`.
    """
    return 1.0 if owned >= sum(counts) else 1 / len(set(counts))


@dataclass(frozen=True, slots=True)
class SlowStart:
    """The slow start of a receiver that was busy.

    Attributes:
        revision: the revision of the subscription; a newer one ends the slow start.
        per_second: the most calls per second; None if there is only a `Retry-After`.
        until: no call is made before this time, in seconds of the caller's clock (`Delivery.slow_start`: Unix seconds).
    """

    revision: int
    per_second: float | None
    until: float


@dataclass(slots=True)
class _Pace:
    """The state of one subscription.

    Attributes:
        rate: the rate of the subscription; None for no limit.
        allowed: the calls per second that the handshake allowed; None for no limit.
        tokens: the calls that may be made at once, as of *filled_at*.
        gap: the seconds between two calls while the receiver recovers.
        widened_at: when the gap last grew.
        last_at: the time of the last call.
        held_until: no call before this time.
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
        """Whether this state limits nothing at the moment."""
        return self.rate is None and self.allowed is None and not self.gap and self.held_until <= now

    def limit(self) -> tuple[float, int] | None:
        """Calls per second and burst: the lower of the subscription's rate and the handshake's."""
        if self.rate is None:
            return None if self.allowed is None else (self.allowed, 1)
        per_second = self.rate.per_second
        return (per_second if self.allowed is None else min(per_second, self.allowed)), self.rate.burst

    def wait(self, now: float, share: float = 1.0) -> float:
        """Seconds until the next call may be made, with this *share* of the rate."""
        until = max(self.held_until, self.last_at + self.gap) if self.gap else self.held_until
        limit = self.limit()
        if limit is None:
            return until - now
        per_second, burst = limit[0] * share, limit[1]
        # If the clock seems to go back, no tokens are added.
        self.tokens = min(float(burst), self.tokens + max(0.0, now - self.filled_at) * per_second)
        self.filled_at = now
        return max(until - now, (1.0 - self.tokens) / per_second)

    def slow_start(self, now: float) -> SlowStart | None:
        """The current slow start or hold; None if there is none."""
        until = max(self.held_until, self.last_at + self.gap)
        if not self.gap and until <= now:
            return None
        return SlowStart(self.slowed_at, 1 / self.gap if self.gap else None, until)

    def begin_anew(self) -> None:
        """End slow start and hold; the rate stays."""
        self.gap = 0.0
        self.held_until = float("-inf")

    def take(self, now: float) -> None:
        """Count a call."""
        self.last_at = now
        self.tokens = max(0.0, self.tokens - 1.0)


def _all_of_it() -> float:
    return 1.0


class RateLimits:
    """The rate limits of a worker's subscriptions. An unlimited subscription costs one dictionary lookup.

    Args:
        share: returns this worker's share of each rate, above 0 and up to 1. With `routing: match`, a subscription gets
            events in every partition, and workers share its rate in proportion to the partitions that they own.
    """

    def __init__(self, share: Callable[[], float] = _all_of_it) -> None:
        self._share = share
        self._paces: OrderedDict[str, _Pace] = OrderedDict()  # not a dict, as in bounded.py
        self._slowed: dict[str, None] = {}  # may contain subscriptions whose slow start has ended

    def turn(self, subscription: Subscription, now: float) -> float:
        """Seconds until *subscription* may be called. If 0, the call is counted."""
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
            # The new revision has no handshake.
            pace.allowed = None
        wait = pace.wait(now, self._share())
        # Because of rounding, the wait might be shorter than a clock can measure.
        if wait > 1e-6:  # noqa: PLR2004 - a microsecond
            return wait
        pace.take(now)
        return 0.0

    def saw(self, subscription: Subscription, outcome: Outcome, now: float) -> None:
        """Record the outcome of a call."""
        if isinstance(outcome, Rejected | ServerError) and outcome.status in {_TOO_MANY_REQUESTS, _SERVICE_UNAVAILABLE}:
            self._slow_down(subscription, outcome.retry_after_seconds, now)
        elif isinstance(outcome, Delivered) or (isinstance(outcome, Rejected) and outcome.status not in BUSY_STATUSES):
            # A receiver that rejects an event has processed it, so it is no longer busy.
            pace = self._paces.get(subscription.id)
            if pace is not None and pace.gap:
                self._recover(subscription.id, pace, now)

    def slow_start(self, subscription_id: str, now: float) -> SlowStart | None:
        """The slow start of a subscription; None if there is none."""
        pace = self._paces.get(subscription_id)
        return None if pace is None else pace.slow_start(now)

    def slow_starts(self, now: float, most: int) -> dict[str, SlowStart]:
        """The slow starts of up to *most* subscriptions, by id."""
        found: dict[str, SlowStart] = {}
        for name in list(islice(self._slowed, most)):
            slow = self.slow_start(name, now)
            if slow is None:
                del self._slowed[name]
            else:
                found[name] = slow
        return found

    def allow(self, subscription_id: str, per_second: float | None) -> None:
        """Record how many calls per second the receiver allows; None for no limit."""
        pace = self._paces.get(subscription_id)
        if pace is None:
            if per_second is None:
                return
            pace = self._add(subscription_id, _Pace(None))
        pace.allowed = per_second

    def _add(self, subscription_id: str, pace: _Pace) -> _Pace:
        if len(self._paces) >= MAX_PACES:
            # A receiver states its rate only in the handshake, so the rate must not be forgotten.
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
        # If several calls were under way at once, their answers widen the gap only once.
        elif not pace.gap or now - pace.widened_at >= pace.gap:
            pace.gap = min(max(2 * pace.gap, FIRST_GAP_SECONDS), retry.max_delay_seconds)
            pace.widened_at = now
            pace.held_until = max(pace.held_until, now + pace.gap)
