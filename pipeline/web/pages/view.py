"""How the pages show states and attempts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pipeline.cluster.attempts import Result
from pipeline.cluster.state import State


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
    "behind": Look("Behind", "slow", "It could not keep up and reads the log separately. Its events arrive late."),
    "paused": Look("Paused", "quiet", "Its publisher has paused it. Its events wait."),
    "stopped": Look("Stopped", "quiet", "Its consumer has stopped it. Its events wait."),
    "closed": Look("Closed", "quiet", "It is closed. Nothing is delivered."),
    "live": Look("Live", "good", "Its events are delivered as they arrive."),
}
"""By urgency."""

_RESULTS: Final[Mapping[str, tuple[str, str]]] = {
    "delivered": ("Delivered", "good"),
    "retry": ("Failed, will be retried", "slow"),
    "dead-letter": ("Failed, will be dead-lettered", "slow"),
    "dead-lettered": ("Dead-lettered", "bad"),
    "failure": ("Failed: the subscription is in FAILURE", "bad"),
    "dropped": ("Dropped", "bad"),
    "skipped": ("Skipped", "quiet"),
}
"""By decision."""


def shown_result(result: Result) -> tuple[str, str]:
    """The result of an attempt in words, and the CSS class of its colour."""
    return _RESULTS.get(result.decision or "", ("Failed", "slow"))
