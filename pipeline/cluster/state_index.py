"""Indexes the states of subscriptions and why they fail, for counting, filtering and grouping. Pure.

Most subscriptions are live, so only other states are stored. The index ignores the owners of partitions, because a
single change of an owner would change the states of many subscriptions. The view takes the owners into account.
"""

from pipeline.cluster.failures import FailureGroups
from pipeline.cluster.joining import STATE_OF, FailureReason, shape
from pipeline.cluster.state import State
from pipeline.core.model import Status
from pipeline.core.subscription import Subscription


class StateIndex:
    """The states of all subscriptions, as of the last `update` of each.

    Attributes:
        failing: the subscriptions that fail (`FailureReason.is_failure`). For a member of `timed`, this also depends on
            the time.
    """

    def __init__(self) -> None:
        self._desired: dict[str, State] = {}
        self._timed: dict[str, Subscription] = {}  # subscriptions that begin or end at a set time
        self._reasons: dict[str, FailureReason] = {}
        self.failing = FailureGroups()

    def update(self, subscription: Subscription, host: str, reason: FailureReason | None) -> None:
        """Update the index after a change of a subscription or of one of its lanes.

        Args:
            subscription: the newest revision of the subscription.
            host: the host of its callback.
            reason: why it fails, or is behind; else None.
        """
        name = subscription.id
        if subscription.problem is not None:
            problem = subscription.problem
            reason = FailureReason("broken", "configuration", shape(problem), problem, None)
        if reason is None:
            self._reasons.pop(name, None)
        else:
            self._reasons[name] = reason
        status = subscription.status_at(0.0)
        self._desired.pop(name, None)
        self._timed.pop(name, None)
        if subscription.starting_at is not None or subscription.ending_at is not None:
            self._timed[name] = subscription
        elif status is not Status.STARTED:
            self._desired[name] = STATE_OF[status]
        if reason is not None and reason.is_failure and self._desired.get(name, reason.state) == reason.state:
            self.failing.add(name, host, reason)
        else:
            self.failing.remove(name)

    def forget(self, name: str) -> None:
        """Remove a deleted subscription."""
        self._desired.pop(name, None)
        self._timed.pop(name, None)
        self._reasons.pop(name, None)
        self.failing.remove(name)

    def state(self, name: str, now: float) -> State:
        """The state of a subscription, assuming that its partitions have owners."""
        desired = self._desired.get(name)
        if desired is not None:
            return desired
        if name in self._timed:
            status = self._timed[name].status_at(now)
            if status is not Status.STARTED:
                return STATE_OF[status]
        reason = self._reasons.get(name)
        return "live" if reason is None else reason.state

    def reason(self, name: str) -> FailureReason | None:
        """Why a subscription fails, even if it must not deliver at present."""
        return self._reasons.get(name)

    def timed(self) -> list[str]:
        """The subscriptions that begin or end at a set time, so that their states depend on the time."""
        return list(self._timed)
