"""How each subscription stands and why it fails, ready to be counted, filtered and grouped. Pure.

It holds only what differs from "live": of a hundred thousand subscriptions most do not. What depends on the owners of
partitions is left to the view, because an owner changes the state of many at a time.
"""

from dataclasses import dataclass

from pipeline.cluster.joining import STATE_OF, Reason, shape
from pipeline.cluster.state import State
from pipeline.core.model import Status
from pipeline.core.subscription import Subscription, status_of


@dataclass(frozen=True, slots=True)
class _Timed:
    """One that begins or ends at a time."""

    subscription: Subscription


class StateIndex:
    """The states of all subscriptions, as of the last `note` of each."""

    def __init__(self) -> None:
        self._wished: dict[str, State | _Timed] = {}
        self._reasons: dict[str, Reason] = {}

    def note(self, subscription: Subscription, reason: Reason | None) -> None:
        """A subscription, or what is known of its lanes, has changed.

        Args:
            subscription: its newest revision.
            reason: why one of its lanes fails, is tried again or is behind.
        """
        name = subscription.id
        if subscription.problem is not None:
            problem = subscription.problem
            reason = Reason("broken", "configuration", shape(problem), problem, None)
        if reason is None:
            self._reasons.pop(name, None)
        else:
            self._reasons[name] = reason
        status = status_of(subscription, 0.0)
        if subscription.starting_at is not None or subscription.ending_at is not None:
            self._wished[name] = _Timed(subscription)
        elif status is not Status.STARTED:
            self._wished[name] = STATE_OF[status]
        else:
            self._wished.pop(name, None)

    def forget(self, name: str) -> None:
        """A subscription was deleted."""
        self._wished.pop(name, None)
        self._reasons.pop(name, None)

    def state(self, name: str, now: float) -> State:
        """How a subscription stands, if its partitions have owners."""
        wished = self._wished.get(name)
        if wished is not None:
            if not isinstance(wished, _Timed):
                return wished
            status = status_of(wished.subscription, now)
            if status is not Status.STARTED:
                return STATE_OF[status]
        reason = self._reasons.get(name)
        return "live" if reason is None else reason.state

    def reason(self, name: str) -> Reason | None:
        """Why it fails, whatever it should do now."""
        return self._reasons.get(name)

    def failing(self) -> list[str]:
        """Those of which there is a reason."""
        return list(self._reasons)
