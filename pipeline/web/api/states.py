"""What the API shows of the state of deliveries, which the cluster's view knows."""

from typing import Any, Protocol

from pipeline.cluster.state import SubscriptionState


class View(Protocol):
    """Knows the state of every subscription, whoever delivers it (cluster/view.py)."""

    @property
    def is_current(self) -> bool:
        """Whether it has read what there was at its start."""
        ...

    def state(self, subscription_id: str) -> SubscriptionState | None:
        """The state of a subscription; None if there is no such subscription."""
        ...


class States:
    """The states of subscriptions.

    Args:
        view: None: nothing is known.
    """

    def __init__(self, view: View | None = None) -> None:
        self._view = view

    def find(self, subscription_id: str) -> SubscriptionState | None:
        """The state of a subscription; None if it is not known."""
        if self._view is None or not self._view.is_current:
            return None
        return self._view.state(subscription_id)

    def has_failed(self, subscription_id: str) -> bool:
        """Whether a subscription is known to be in FAILURE."""
        found = self.find(subscription_id)
        return found is not None and _in_failure(found)

    def may_have_failed(self, subscription_id: str) -> bool:
        """Whether a subscription is in FAILURE, or that is not known."""
        found = self.find(subscription_id)
        return found is None or _in_failure(found)

    def shown_waiting(self, subscription_id: str) -> dict[str, Any]:
        """How many events wait for a subscription."""
        found = self.find(subscription_id)
        if found is None:
            return {"waiting": None, "waitingAtMost": None}
        return {"waiting": found.waiting, "waitingAtMost": found.waiting_at_most}


def _in_failure(state: SubscriptionState) -> bool:
    return state.state == "failure" or any(lane.state == "failure" for lane in state.lanes)
