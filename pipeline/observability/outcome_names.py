"""The names of the outcomes of attempts in metrics and log lines. Pure."""

from typing import Literal

from pipeline.core.outcome import (
    Delivered,
    Failed,
    NotPermitted,
    Outcome,
    Rejected,
    ServerError,
    TokenRefused,
    TokenUnavailable,
)

AttemptOutcome = Literal[
    "delivered",
    "rejected",
    "server-error",
    "failed",
    "timed-out",
    "token-refused",
    "token-unavailable",
    "not-permitted",
]
"""How an attempt ended. `failed` is any incomplete exchange except a timeout."""


def outcome_name(outcome: Outcome) -> AttemptOutcome:  # noqa: PLR0911 - one line per outcome
    """The name of an outcome in metrics and log lines."""
    match outcome:
        case Delivered():
            return "delivered"
        case Rejected():
            return "rejected"
        case ServerError():
            return "server-error"
        case Failed():
            return "timed-out" if outcome.timed_out else "failed"
        case TokenRefused():
            return "token-refused"
        case TokenUnavailable():
            return "token-unavailable"
        case NotPermitted():
            return "not-permitted"
