"""Names and colours for the attempt log on the pages."""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from pipeline.cluster.attempts import Entry, Result

_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "delivered": ("Delivered", "good"),
    "retry": ("Failed, to be tried again", "slow"),
    "dead-letter": ("Failed, a dead letter is to be written", "slow"),
    "dead-lettered": ("Dead-lettered", "bad"),
    "failure": ("Failed: the subscription stopped", "bad"),
    "dropped": ("Dropped", "bad"),
    "skipped": ("Skipped", "quiet"),
}
"""By decision: a word for people, and the CSS class of its colour."""


class AttemptPage(Protocol):
    """Some attempts, newest first (cluster/attempt_search.py)."""

    @property
    def items(self) -> Sequence[Entry]:
        """The attempts."""
        ...

    @property
    def next(self) -> str | None:
        """The *after* of the next page, which has older attempts; None if there are none."""
        ...

    @property
    def searched_to(self) -> float | None:
        """The time back to which the log has been read, Unix seconds; None if all of it was."""
        ...


class AttemptLog(Protocol):
    """Searches the attempt log (cluster/attempt_search.py)."""

    async def attempts(
        self, subscription: str, after: str | None = None, limit: int = 50, webhook_id: str | None = None
    ) -> AttemptPage:
        """The newest attempts of a subscription, of one event or of all.

        Raises:
            BrokerError: the log can't be read.
            ConfigurationError: *after* is not where a page ended.
        """
        ...


def word_of(result: Result) -> str:
    """The result, for people."""
    return _WORDS.get(result.decision or "", ("Failed", "slow"))[0]


def tone_of(result: Result) -> str:
    """The CSS class of its colour."""
    return _WORDS.get(result.decision or "", ("Failed", "slow"))[1]
