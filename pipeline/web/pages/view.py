"""The interface of the pages to the cluster's view (cluster/view.py), and how they show states and attempts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from pipeline.cluster.attempts import Result
from pipeline.cluster.state import State
from pipeline.core.subscription import Subscription
from pipeline.web.api.states import View


class LiveView(View, Protocol):
    """A view of the cluster, with a method that waits for changes."""

    async def changed(self, since: int) -> int:
        """Wait for a change after the version *since*. Returns the new version."""
        ...


class KnownSubscriptions(Protocol):
    """Has the records of the subscriptions (subscriptions/registry.py)."""

    def get(self, subscription_id: str) -> Subscription | None:
        """The newest revision of a subscription; None if there is no such subscription."""
        ...

    def ids(self) -> Sequence[str]:
        """All ids."""
        ...

    def raw(self, subscription_id: str) -> dict[str, Any] | None:
        """The document of a subscription, with secrets masked; None if there is no such subscription."""
        ...


@dataclass(frozen=True, slots=True)
class Look:
    """How a state is shown.

    Attributes:
        tone: the CSS class of its colour.
        sentence: the meaning of the state.
    """

    name: str
    tone: str
    sentence: str


LOOKS: Final[Mapping[State, Look]] = {
    "failure": Look("Failed", "bad", "It stopped at an event that failed."),
    "broken": Look("Broken", "bad", "Its record can't be used. Nothing is delivered until it is corrected."),
    "unowned": Look("No worker", "bad", "No worker owns its partition. It continues when a worker owns it."),
    "retrying": Look("Retrying", "slow", "The last attempt for its next event failed. Another attempt follows."),
    "behind": Look("Behind", "slow", "It could not keep up and reads the log by itself. Its events arrive late."),
    "paused": Look("Paused", "quiet", "Its publisher has paused it. Its events wait."),
    "stopped": Look("Stopped", "quiet", "Its consumer has stopped it. Its events wait."),
    "closed": Look("Closed", "quiet", "It is closed. Nothing is delivered."),
    "live": Look("Live", "good", "Its events are delivered as they arrive."),
}
"""By urgency."""

_RESULTS: Final[Mapping[str, tuple[str, str]]] = {
    "delivered": ("Delivered", "good"),
    "retry": ("Failed, to be tried again", "slow"),
    "dead-letter": ("Failed, a dead letter is to be written", "slow"),
    "dead-lettered": ("Dead-lettered", "bad"),
    "failure": ("Failed: the subscription stopped", "bad"),
    "dropped": ("Dropped", "bad"),
    "skipped": ("Skipped", "quiet"),
}
"""By decision."""


def shown_result(result: Result) -> tuple[str, str]:
    """The result of an attempt in words, and the CSS class of its colour."""
    return _RESULTS.get(result.decision or "", ("Failed", "slow"))
