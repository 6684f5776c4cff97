"""What happened in one attempt. Facts only: what follows from them is decided in core/policy.py.

`Callback` (http/) returns one of these for every attempt and never raises.
"""

from dataclasses import dataclass
from typing import Final

RESPONSE_EXCERPT_BYTES: Final = 1024
"""How much of an answer's body is kept, for dead letters and causes."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver answered 2xx."""

    status: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """The receiver answered 1xx, 3xx or 4xx.

    Attributes:
        status: the HTTP status.
        response: the beginning of the answer's body, at most `RESPONSE_EXCERPT_BYTES`.
        retry_after_seconds: what `Retry-After` asked for, already turned into seconds from now; None without one.
        token_used: whether the request carried an OAuth2 access token, which a 401 then speaks about.
    """

    status: int
    response: bytes = b""
    retry_after_seconds: float | None = None
    token_used: bool = False


@dataclass(frozen=True, slots=True)
class ServerError:
    """The receiver answered 5xx (or a status beyond 599)."""

    status: int
    response: bytes = b""
    retry_after_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """No complete answer: connection, TLS, DNS, a timeout, a broken response.

    Attributes:
        error: a sentence without secrets, e.g. "connection refused by 127.0.0.1:9".
        may_have_arrived: False only where the request provably was not sent (at-most-once may then try again).
        timed_out: the receiver was silent for too long; such lanes wait behind those that answer.
    """

    error: str
    may_have_arrived: bool
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class TokenRefused:
    """The token endpoint answered 4xx: the credentials are wrong, not the event. Nothing was sent to the callback."""

    error: str


@dataclass(frozen=True, slots=True)
class TokenUnavailable:
    """The token endpoint is busy (408, 425, 429), answered 5xx or was not reached. Nothing was sent to the callback.

    Attributes:
        retry_after_seconds: what `Retry-After` asked for, as seconds from now; None without one.
    """

    error: str
    retry_after_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class NotPermitted:
    """The receiver did not permit calls when it was asked (http/handshake.py). Nothing was sent to it but that.

    Attributes:
        token_refused: an OAuth2 access token went with the question, and the answer was 401.
    """

    error: str
    token_refused: bool = False


Outcome = Delivered | Rejected | ServerError | Failed | TokenRefused | TokenUnavailable | NotPermitted


def may_have_arrived(outcome: Outcome) -> bool:
    """Whether the receiver may have seen the event: False only where it provably has not."""
    match outcome:
        case TokenRefused() | TokenUnavailable() | NotPermitted():
            return False
        case Failed():
            return outcome.may_have_arrived
        case Delivered() | Rejected() | ServerError():
            return True


def status_of(outcome: Outcome) -> int | None:
    """The HTTP status that the receiver answered with; None where it did not answer."""
    return outcome.status if isinstance(outcome, Delivered | Rejected | ServerError) else None


def describe(outcome: Outcome) -> str:
    """One line for people: the cause of a FAILURE, `dlq.error`, a log line."""
    match outcome:
        case Delivered(status) | Rejected(status) | ServerError(status):
            return f"the callback answered {status}"
        case Failed(error):
            return error
        case TokenRefused(error):
            return f"token endpoint refused: {error}"
        case TokenUnavailable(error):
            return f"token endpoint unavailable: {error}"
        case NotPermitted(error):
            return f"the receiver does not permit calls: {error}"
