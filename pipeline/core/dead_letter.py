"""Dead letters: events that are given up. kafka/dead_letters.py writes them to their topic."""

from dataclasses import dataclass
from typing import Protocol

from pipeline.core.model import Event
from pipeline.core.outcome import Outcome
from pipeline.core.policy import Reason


@dataclass(frozen=True, slots=True)
class DeadLetterRecord:
    """An event that is given up, and the facts about it.

    Attributes:
        outcome: the outcome of the last attempt; None without an attempt (undecodable key, unknown subscription).
        first_attempt_at: when the first attempt began, Unix seconds; None without an attempt.
        last_attempt_at: when the last attempt began, Unix seconds; None without an attempt.
        subscription: the id of the subscription; None if the key can't be an id.
    """

    event: Event
    reason: Reason
    outcome: Outcome | None = None
    attempts: int = 0
    first_attempt_at: float | None = None
    last_attempt_at: float | None = None
    subscription: str | None = None
    url: str | None = None


class DeadLetterWriter(Protocol):
    """Writes dead letters."""

    async def put(self, letter: DeadLetterRecord) -> None:
        """Write the dead letter, and retry until the broker has confirmed it.

        Raises:
            NotDeadLetteredError: the broker will never accept it.
        """
