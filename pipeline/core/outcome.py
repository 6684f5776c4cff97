"""What happened in one attempt. core/policy.py decides what follows from it.

`Callback` (http/webhook.py) returns one of these for every attempt that the lease allows.
"""

from dataclasses import dataclass
from typing import Final

RESPONSE_EXCERPT_BYTES: Final = 1024
"""How many bytes of an answer's body are kept, for dead letters and the attempt log."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver answered 2xx."""

    status: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """The receiver answered 1xx, 3xx or 4xx.

    Attributes:
        response: the beginning of the answer's body, at most `RESPONSE_EXCERPT_BYTES`.
        retry_after_seconds: the value of `Retry-After` in seconds from now; None without one.
        token_used: whether the request carried an OAuth2 access token, which a 401 may have rejected.
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
        may_have_arrived: whether the request may have been sent. At-most-once tries again only if it provably was not.
        timed_out: whether the receiver was silent for too long. Its lane is then a suspect (concurrency.py).
    """

    error: str
    may_have_arrived: bool
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class TokenRefused:
    """The token endpoint answered 4xx: the credentials are at fault. Nothing was sent to the callback."""

    error: str


@dataclass(frozen=True, slots=True)
class TokenUnavailable:
    """The token endpoint is busy (408, 425, 429), answered 5xx or was not reached. Nothing was sent to the callback.

    Attributes:
        retry_after_seconds: the value of `Retry-After` in seconds from now; None without one.
    """

    error: str
    retry_after_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class NotPermitted:
    """The receiver did not permit calls in the handshake (http/handshake.py). The event was not sent.

    Attributes:
        token_refused: whether the handshake carried an OAuth2 access token and was answered with 401.
    """

    error: str
    token_refused: bool = False


Outcome = Delivered | Rejected | ServerError | Failed | TokenRefused | TokenUnavailable | NotPermitted


def may_have_arrived(outcome: Outcome) -> bool:
    """Whether the receiver may have seen the event: there is no proof that it has not."""
    match outcome:
        case TokenRefused() | TokenUnavailable() | NotPermitted():
            return False
        case Failed():
            return outcome.may_have_arrived
        case Delivered() | Rejected() | ServerError():
            return True


def http_status(outcome: Outcome) -> int | None:
    """The HTTP status of the receiver's answer; None without an answer."""
    return outcome.status if isinstance(outcome, Delivered | Rejected | ServerError) else None


def describe(outcome: Outcome) -> str:
    """One line about the outcome: for the cause of a FAILURE, `dlq.error` or a log line."""
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
