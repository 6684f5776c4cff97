"""Formats parts of a subscription's state for people, without secrets and cut to a length."""

from typing import Any, Final

from pipeline.core.attempts import FailedAttempt
from pipeline.core.clock import shown_time
from pipeline.core.model import Cause
from pipeline.core.rate_limit import SlowStart
from pipeline.core.redaction import mask_cut, shown_host
from pipeline.core.subscription import Subscription

MOST_CHARACTERS: Final = 2048
"""The longest cause or warning that is shown."""


def shown_text(text: str) -> str:
    """A cause or a warning, cut and with masked credentials, because it may contain text from outside."""
    return mask_cut(text, MOST_CHARACTERS)


def shown_error(error: FailedAttempt) -> dict[str, Any]:
    """Why the last attempt failed, as JSON."""
    return {"message": shown_text(error.message), "at": shown_time(error.at), "status": error.status}


def shown_cause(cause: Cause) -> dict[str, Any]:
    """Why a subscription failed, as JSON."""
    attempts, probes = cause.attempts, cause.probes
    next_at = None if probes is None else probes.next_at
    return {
        "kind": cause.kind,
        "message": shown_text(cause.message),
        "offset": cause.offset,
        "at": shown_time(cause.at),
        "attempts": None if attempts is None else attempts.count,
        "firstAttemptAt": None if attempts is None else shown_time(attempts.since),
        "status": None if attempts is None else attempts.status,
        "probes": None if probes is None else probes.made,
        "nextProbeAt": None if next_at is None else shown_time(next_at),
    }


def slow_start_document(slow: SlowStart) -> dict[str, Any]:
    """A slow start as JSON."""
    per_second = None if slow.per_second is None else round(slow.per_second, 3)
    return {"perSecond": per_second, "notBefore": shown_time(slow.until)}


def shown_slow_start(slow: SlowStart) -> str:
    """A slow start as text."""
    rate = "" if slow.per_second is None else f"slow start, at most {slow.per_second:.3g} requests per second and "
    return f"{rate}no request before {shown_time(slow.until)}"


def failure_facts(subscription: Subscription, topic: str, partition: int, cause: Cause) -> dict[str, object]:
    """The facts of a FAILURE and of its probes, for a log line."""
    attempts, probes = cause.attempts, cause.probes
    next_at = None if probes is None else probes.next_at
    return {
        "subscription": subscription.id,
        "kind": cause.kind,
        "cause": cause.message,
        "topic": topic,
        "partition": partition,
        "offset": cause.offset,
        "attempts": None if attempts is None else attempts.count,
        "first_attempt_at": None if attempts is None else shown_time(attempts.since),
        "next_probe_at": None if next_at is None else shown_time(next_at),
        "host": shown_host(subscription.url),
    }
