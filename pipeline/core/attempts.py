"""The facts about failed attempts that are displayed and stored in cursor rows."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """The last attempt to deliver an event, which failed.

    Attributes:
        message: what went wrong, a sentence without secrets.
        at: when the attempt ended, Unix seconds.
        status: the HTTP status of the answer; None if there was none.
    """

    message: str
    at: float
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Attempts:
    """The attempts that led to a FAILURE.

    Attributes:
        since: when the first one began, Unix seconds.
        status: the HTTP status of the last answer; None if there was none.
    """

    count: int
    since: float
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Probes:
    """The probes of a FAILURE (probing.py).

    Attributes:
        made: the number of probes, including one under way.
        next_at: when the next probe is due, Unix seconds; None if there is none.
    """

    made: int
    next_at: float | None


@dataclass(frozen=True, slots=True)
class DeadLetterRun:
    """The last events of a subscription, which were all dead-lettered: there was no delivery in between.

    Attributes:
        count: the number of dead letters.
        since, at: when the first and the last one were written, Unix seconds.
        message: why the last attempt failed, a sentence without secrets.
        revision: the revision of the subscription in that attempt; None if unknown.
    """

    count: int
    since: float
    at: float
    message: str
    revision: int | None = None
