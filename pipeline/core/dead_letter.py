"""An event that is given up, and where it goes. The record is written by kafka/dead_letters.py."""

from dataclasses import dataclass
from typing import Protocol

from pipeline.core.model import Event
from pipeline.core.outcome import Outcome
from pipeline.core.policy import Reason


@dataclass(frozen=True, slots=True)
class DeadLetterRecord:
    """An event that is given up, and what is known of it.

    Attributes:
        outcome: of the last attempt; None where none was made (undecodable, unknown subscription).
        first_attempt_at: Unix seconds, None without an attempt; so is *last_attempt_at*.
        subscription: the id, None where the key is none.
        url: of the callback.
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
    """Where dead letters go."""

    async def put(self, letter: DeadLetterRecord) -> None:
        """Return once the broker has confirmed the letter; until then keep trying.

        Raises:
            NotDeadLetteredError: it will never be taken.
        """
        ...
