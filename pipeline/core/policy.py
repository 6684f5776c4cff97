"""Decides what follows from an outcome. Pure (docs/design.md, Outcomes and decisions).

http/response.py turns a status into an outcome. subscription.py lists the statuses that are retried by default; a
subscription may name others (subscriptions/resolve.py). `Runner` (runner.py) acts on the decision. After a 429 or 503,
rate_limit.py also delays the other events of the subscription. tests/unit/core/test_policy.py tests every combination.
"""

import math
from dataclasses import dataclass
from typing import Final, Literal

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
from pipeline.core.subscription import Interrupt, Jitter, Qos, RetryPolicy, RetryStrategy

RETRY_AFTER_FACTOR = 10
"""`Retry-After` is obeyed up to this many times the policy's longest delay."""

_LAST_STATUS = 599
_SERVER_ERROR = 500
"""Every status above 599 is treated as this status."""

Reason = Literal["rejected", "server-error", "exception", "undecodable", "unknown-subscription", "expired"]
"""`dlq.reason` of a dead letter; "expired": `retry.maxElapsedSeconds` left no time for another attempt."""

CauseKind = Literal[
    "rejected",
    "gone",
    "server-error",
    "exception",
    "token",
    "token-unavailable",
    "handshake",
    "configuration",
    "dead-letter",
    "cursor",
]
"""The kind of a FAILURE. token: the token endpoint refuses; token-unavailable: it does not answer, or answers 5xx."""


@dataclass(frozen=True, slots=True)
class Settle:
    """Delivered: the event is done."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Try the event again after *after_seconds* or later; with a fresh access token if *renew_token*."""

    after_seconds: float
    renew_token: bool = False


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Write the event to the dead-letter topic. The event is settled when the broker has confirmed the dead letter."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Stop:
    """Put the lane into FAILURE and keep the event. At-most-once gives up an event that may have arrived."""

    kind: CauseKind


@dataclass(frozen=True, slots=True)
class Drop:
    """Give the event up, counted and logged; only with QoS none."""


Unsuccessful = Rejected | ServerError | Failed | TokenRefused | TokenUnavailable | NotPermitted
"""Every outcome except a delivery."""

Decision = Settle | Retry | DeadLetter | Stop | Drop


@dataclass(frozen=True, slots=True)
class Rules:
    """A subscription's rules about outcomes; created once per revision."""

    qos: Qos
    retry: RetryPolicy
    interrupt: Interrupt
    has_dead_letters: bool


UNKNOWN_RULES: Final = Rules(Qos.AT_LEAST_ONCE, RetryPolicy(), Interrupt(), has_dead_letters=True)
"""The rules for a key without a subscription. Events with such a key are given up in order, and never sent."""


def decide(
    rules: Rules,
    attempt: int,
    outcome: Outcome,
    *,
    token_renewed: bool = False,
    elapsed_seconds: float = 0.0,
    chance: float = 1.0,
) -> Decision:
    """The decision for the outcome of an attempt.

    Args:
        rules: the rules of the subscription.
        attempt: the number of the attempt, from 1.
        outcome: the outcome of the attempt.
        token_renewed: whether a fresh access token was already fetched for this event, after a 401.
        elapsed_seconds: the time since the first attempt of this event.
        chance: a random number: 0 is the shortest wait that jitter allows, 1 the longest.
    """
    if isinstance(outcome, Delivered):
        return Settle()
    if rules.qos is Qos.NONE:
        return _decide_unguaranteed(rules, outcome)
    match outcome:
        case Rejected(status=401, token_used=True) if not token_renewed and rules.qos is not Qos.AT_MOST_ONCE:
            return Retry(0.0, renew_token=True)
    if not _may_retry(rules, attempt, outcome):
        return _give_up(rules, outcome)
    wait, longest = delay(rules.retry, attempt, outcome, chance), rules.retry.max_elapsed_seconds
    if longest is not None and elapsed_seconds + wait > longest:
        return _expire(rules, outcome)
    return Retry(wait)


def decide_probe(rules: Rules, outcome: Outcome, *, token_renewed: bool = False) -> Decision:
    """The decision for the outcome of a probe (probing.py).

    The number of attempts and the deadline do not matter. Instead of a retry, the subscription stays in FAILURE until
    the next probe.
    """
    decision = decide(rules, 0, outcome, token_renewed=token_renewed, elapsed_seconds=-math.inf)
    if isinstance(decision, Retry) and not decision.renew_token:
        return Stop(_probed_kind(outcome))
    return decision


def _probed_kind(outcome: Outcome) -> CauseKind:
    if isinstance(outcome, TokenRefused | TokenUnavailable):
        return _token_kind(outcome)
    return "server-error" if isinstance(outcome, Rejected | ServerError) else "exception"


def _decide_unguaranteed(rules: Rules, outcome: Unsuccessful) -> DeadLetter | Drop:
    """The decision with QoS none: no event is retried, and no subscription fails."""
    if isinstance(outcome, Rejected) and rules.has_dead_letters:
        return DeadLetter("rejected")
    return Drop()


def _may_retry(rules: Rules, attempt: int, outcome: Unsuccessful) -> bool:
    if (
        isinstance(outcome, TokenRefused | NotPermitted)
        or not rules.retry.enabled
        or attempt > rules.retry.max_attempts
    ):
        return False
    if rules.qos is Qos.AT_MOST_ONCE:
        # Sending again is safe only if the event provably did not reach the receiver.
        return isinstance(outcome, TokenUnavailable) or (isinstance(outcome, Failed) and not outcome.may_have_arrived)
    if isinstance(outcome, Rejected | ServerError):
        return (outcome.status if outcome.status <= _LAST_STATUS else _SERVER_ERROR) in rules.retry.statuses
    return True


def _expire(rules: Rules, outcome: Unsuccessful) -> DeadLetter | Stop:
    """The decision if the deadline leaves no time for another attempt. The flags for interruption do not apply."""
    if rules.has_dead_letters and not isinstance(outcome, TokenUnavailable):
        return DeadLetter("expired")
    return _give_up(rules, outcome)


def _give_up(rules: Rules, outcome: Unsuccessful) -> DeadLetter | Stop:
    match outcome:
        case TokenRefused() | TokenUnavailable():
            return Stop(_token_kind(outcome))
        case NotPermitted():
            return Stop("handshake")
        case Rejected(status=410):
            stays = not rules.has_dead_letters or rules.interrupt.on_gone
            return Stop("gone") if stays else DeadLetter("rejected")
        case Rejected():
            return DeadLetter("rejected") if rules.has_dead_letters else Stop("rejected")
        case ServerError():
            stays = not rules.has_dead_letters or rules.interrupt.on_server_error
            return Stop("server-error") if stays else DeadLetter("server-error")
        case Failed():
            stays = not rules.has_dead_letters or rules.interrupt.on_exception
            return Stop("exception") if stays else DeadLetter("exception")


def _token_kind(outcome: TokenRefused | TokenUnavailable) -> CauseKind:
    return "token" if isinstance(outcome, TokenRefused) else "token-unavailable"


def delay(retry: RetryPolicy, attempt: int, outcome: Outcome | None, chance: float = 1.0) -> float:
    """Seconds before the attempt after *attempt* (from 1).

    LINEAR: initial, 2 x initial, 3 x ...; EXPONENTIAL: initial, 2 x, 4 x ...; never above the maximum. Jitter turns
    this delay into a range, and *chance* selects a value in this range. `Retry-After` can lengthen the delay, up to
    `longest_wait`, but not shorten it. rate_limit.py may delay the attempt further, as it holds whole subscriptions.
    """
    # The bound prevents an overflow (a float ends at 2**1023), and is far above any maximum.
    growth = attempt if retry.strategy is RetryStrategy.LINEAR else 2.0 ** min(attempt - 1, 63)
    wait = min(retry.initial_delay_seconds * growth, retry.max_delay_seconds)
    shortest, longest = _span(retry, wait)
    wait = shortest + chance * (longest - shortest)
    asked = outcome.retry_after_seconds if isinstance(outcome, Rejected | ServerError | TokenUnavailable) else None
    if asked is None:
        return wait
    return max(wait, min(asked, longest_wait(retry)))


def _span(retry: RetryPolicy, wait: float) -> tuple[float, float]:
    """The shortest and the longest delay that jitter allows for *wait*."""
    match retry.jitter:
        case Jitter.AROUND:
            return 0.5 * wait, min(1.5 * wait, retry.max_delay_seconds)
        case Jitter.FULL:
            return 0.0, wait
        case Jitter.NONE:
            return wait, wait


def longest_wait(retry: RetryPolicy) -> float:
    """The longest wait that a `Retry-After` can ask for, in seconds."""
    return RETRY_AFTER_FACTOR * retry.max_delay_seconds
