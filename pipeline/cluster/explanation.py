"""Explains a subscription's state in one paragraph: why, since when, how many events wait, what to do. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Final

from pipeline.cluster.state import DESIRED, LaneSummary, State, SubscriptionState
from pipeline.core.clock import shown_time
from pipeline.core.model import Cause
from pipeline.core.shown import as_partitions
from pipeline.observability.shown import shown_slow_start, shown_text
from pipeline.subscriptions.secrets import is_undecryptable

_STANDS: Final[dict[State, str]] = {
    "broken": "can't be used",
    "failure": "is in FAILURE",
    "unowned": "has no worker",
    "retrying": "is retrying its next event",
    "behind": "is behind",
    "paused": "is paused by its publisher",
    "stopped": "is stopped by its consumer",
    "closed": "is closed",
    "live": "is live",
}
_ADVICE: Final[dict[State, str]] = {
    "broken": "Correct the subscription, and apply it again.",
    "unowned": "Start workers, or find out why the running ones are not ready: see `/health/ready` of each worker.",
    "retrying": "It continues without your help. See what the receiver answers:",
    "behind": "It catches up without your help. See what the receiver accepts:",
    "paused": "Resume it when its events may be sent:",
    "stopped": "Start it when its events may be sent:",
    "closed": "To open it again, apply it with the status ACCEPTED.",
    "live": "There is nothing to do.",
}
_BEGIN: Final = "It begins by itself. To begin earlier, apply it with an earlier startingAt."
_REOPEN: Final = "To open it again, apply it with a later endingAt, or without one."
_REPAIR: Final = {
    "rejected": "Change the receiver so that it accepts the event, then resume; or skip the event.",
    "gone": (
        "The receiver answered that it wants no more events. If that is right, delete the subscription; "
        "otherwise resume."
    ),
    "token": "Correct the credentials, or make the token endpoint accept them, then resume.",
    "token-unavailable": "Repair the token endpoint, then resume.",
    "handshake": "Make the receiver permit calls in the handshake, then resume.",
    "configuration": "Correct the subscription and apply it, which also resumes.",
    "dead-letter": "Repair the dead-letter topic, then resume.",
    "cursor": "Resume: it continues at the offset named above.",
}
_CREDENTIALS: Final = "Correct the credentials in the subscription or at the receiver, then resume; or skip the event."
_REJECTED: Final = {
    401: _CREDENTIALS,
    403: _CREDENTIALS,
    404: "Correct the callback URL or the receiver, then resume; or skip the event.",
    429: "Limit the subscription's rate, or let it retry, then resume; or skip the event.",
}
_REDIRECTED: Final = "Redirects are not followed. Correct the callback URL, then resume; or skip the event."
_OTHER_REPAIR: Final = "Repair the receiver, then resume."
_REDRIVE: Final = (
    "Change the receiver or the subscription so that it accepts the events, then redrive the dead letters."
)
_KEYS: Final = (
    "Set WEBHOOKS_SECRET_KEYS to the keys that the workers have, or add the missing key after a comma. "
    "If the key is lost, apply the subscription with new secrets instead."
)
_VERDICT: Final = (
    r"((\S+ is a loopback name: )?\S+ is (in|outside) [^;]+; WEBHOOKS_ALLOW_PRIVATE_NETWORKS can allow it"
    r"|\S+ is a name of the worker's host)"
)
_UNREACHABLE: Final[Mapping[re.Pattern[str], str]] = {
    re.compile(rf"{_VERDICT}(; {_VERDICT})*\Z"): (
        "Waiting will not help: correct the callback URL, or allow the network in WEBHOOKS_ALLOW_PRIVATE_NETWORKS."
    ),
    re.compile(r"the host of \S+ can't be resolved"): (
        "Check the name in the callback URL, and whether the workers' name servers know it."
    ),
    re.compile(r"the host of \S+ is not a host name|\S+ is neither a host name nor an address"): (
        "Waiting will not help: correct the host in the callback URL."
    ),
    re.compile(r"the certificate of \S+ is not trusted"): (
        "Check the receiver's certificate, or let the subscription trust the authority that signed it (ssl.trustStore)."
    ),
    re.compile(r"the TLS handshake with \S+ failed|\S+ closed the connection during the TLS handshake"): (
        "Check the scheme and the port of the callback URL, and the TLS certificates of both sides."
    ),
}
"""Advice by the failure's message, if no answer can come. Only http/failures.py and ssrf_guard.py write these messages;
no stranger can forge them."""
_CHANGE: Final = "webhooks subscriptions"
_CHECK: Final = "webhooks check"


@dataclass(frozen=True, slots=True)
class Explanation:
    """A text for the person on call.

    Attributes:
        commands: shell commands that help; empty if there is nothing to do.
    """

    text: str
    commands: tuple[str, ...]


def explain(state: SubscriptionState, *, names_topic: bool) -> Explanation:
    """Explain the state of a subscription.

    Args:
        state: the state, as the view returns it.
        names_topic: whether to name the topic of each partition, because there are several topics.
    """
    lane = next((lane for lane in state.lanes if lane.state == state.state), None)
    outside = _outside_of_period(state)
    parts = (
        *_without_worker(state),
        _stands(state, names_topic=names_topic),
        *_since(state),
        *_next(state),
        *_slow(state),
        _waiting(state),
        *_success(state),
        *_dead_letters(state),
        *_hidden_failure(state),
        outside or _advice(state),
    )
    commands = _edit(quote(state.id)) if outside else _commands(state, lane, names_topic=names_topic)
    letters = () if state.dead_letter_run is None else (_letters(state),)
    return Explanation(" ".join(parts), (*commands, *letters))


def _stands(state: SubscriptionState, *, names_topic: bool) -> str:
    where = ""
    if state.state not in DESIRED:
        lanes = [lane for lane in state.lanes if lane.state == state.state]
        where = _where(lanes, names_topic=names_topic)
    if state.begins_at is not None:
        stands = f"is paused until its startingAt, {shown_time(state.begins_at)}"
    elif state.ended_at is not None:
        stands = f"is closed since its endingAt, {shown_time(state.ended_at)}"
    else:
        stands = "has caught up" if _has_caught_up(state) else _STANDS[state.state]
    return f"{state.id} {stands}{where}{_why(state)}."


def _without_worker(state: SubscriptionState) -> Iterator[str]:
    if _is_abandoned(state):
        yield f"{state.id} failed in a partition that no worker owns, so nothing is sent or probed: start workers."


def _is_abandoned(state: SubscriptionState) -> bool:
    """Whether it is in FAILURE and has no worker, so that neither a probe nor a resume has an effect."""
    return state.state == "failure" and state.lacks_worker


def _has_caught_up(state: SubscriptionState) -> bool:
    """Whether nothing waits, although a lane is still reported as behind.

    With its next event, the lane becomes live like the others.
    """
    return state.state == "behind" and state.waiting_at_most == 0 and state.cause is None and state.error is None


def _where(lanes: Sequence[LaneSummary], *, names_topic: bool) -> str:
    numbers: dict[str | None, list[int]] = {}
    for lane in lanes:
        numbers.setdefault(lane.topic if names_topic else None, []).append(lane.partition)
    found = ", ".join(as_partitions(sorted(each), topic) for topic, each in numbers.items())
    return f" in {found}" if found else ""


def _why(state: SubscriptionState) -> str:
    if state.problem is not None:
        return f": {shown_text(state.problem)}"
    if state.cause is not None:
        return f", because {shown_text(state.cause.message)} (kind {state.cause.kind}, receiver {state.host})"
    if state.error is not None:
        return f", because {shown_text(state.error.message)} (receiver {state.host})"
    return ""


def _since(state: SubscriptionState) -> Iterator[str]:
    since = None if state.failing_since is None else shown_time(state.failing_since)
    tries = f"{state.attempts} attempt{'s'[: state.attempts != 1]}" if state.attempts else ""
    if since is not None:
        yield f"It has been failing since {since}{f' ({tries})' if tries else ''}."
    elif tries and state.error is not None:
        yield f"It has failed in {tries}."


def _next(state: SubscriptionState) -> Iterator[str]:
    probe_at = _probe_at(state.cause)
    if _is_abandoned(state):
        return
    if probe_at is not None:
        yield f"It is probed next at {shown_time(probe_at)}."
    elif state.next_try_at is not None:
        yield f"The next try is at {shown_time(state.next_try_at)}."


def _slow(state: SubscriptionState) -> Iterator[str]:
    if state.slow_start is not None:
        yield f"Its receiver was busy, so its rate is limited: {shown_slow_start(state.slow_start)}."


def _probe_at(cause: Cause | None) -> float | None:
    return None if cause is None or cause.probes is None else cause.probes.next_at


def _waiting(state: SubscriptionState) -> str:
    count = state.waiting_at_most
    if count is None:
        return "The number of waiting events is unknown."
    if not count:
        return "No events are waiting."
    events = f"{count:,} event{'s are' if count != 1 else ' is'} waiting"
    oldest = None if state.oldest_waiting_at is None else shown_time(state.oldest_waiting_at)
    return f"{'' if state.waiting_is_exact else 'At most '}{events}{f', the oldest since {oldest}' if oldest else ''}."


def _success(state: SubscriptionState) -> Iterator[str]:
    if state.last_success_at is not None:
        yield f"The last known delivery was at {shown_time(state.last_success_at)}."


def _dead_letters(state: SubscriptionState) -> Iterator[str]:
    found = dead_letter_sentence(state)
    if found is not None:
        yield f"{found} See `{_letters(state)}`."


def dead_letter_sentence(state: SubscriptionState) -> str | None:
    """A sentence about the last events of a subscription if they were dead-lettered; else None."""
    run = state.dead_letter_run
    if run is None:
        return None
    why = f"at {shown_time(run.at)}: {shown_text(run.message)}"
    if run.count == 1:
        return f"Its last event was dead-lettered ({why})."
    return f"Its last {run.count:,} events were dead-lettered (the last one {why})."


def _letters(state: SubscriptionState) -> str:
    return f"webhooks dlq list --subscription {quote(state.id)}"


def _hidden_failure(state: SubscriptionState) -> Iterator[str]:
    """A sentence about the FAILURE of a subscription that was paused afterwards."""
    failed = next((lane for lane in state.lanes if lane.state == "failure" != state.state), None)
    if failed is not None:
        why = "" if failed.cause is None else f": {shown_text(failed.cause.message)}"
        yield f"It is also in FAILURE{why}."


def _outside_of_period(state: SubscriptionState) -> str | None:
    """Advice before startingAt and after endingAt, when a resume changes nothing; None within this period."""
    if state.begins_at is not None:
        return _BEGIN
    return None if state.ended_at is None else _REOPEN


def _advice(state: SubscriptionState) -> str:
    if state.state == "failure":
        return _advice_on_failure(state)
    if state.state == "live" or _has_caught_up(state):
        return _ADVICE["live"] if state.dead_letter_run is None else _REDRIVE
    if _needs_keys(state):
        return _KEYS
    unreachable = _unreachable(state)
    if state.state == "retrying" and unreachable is not None:
        return f"{unreachable} See also the attempts of the subscription:"
    return _ADVICE[state.state]


def _advice_on_failure(state: SubscriptionState) -> str:
    if _needs_keys(state):
        return f"{_KEYS} Afterwards, resume."
    unreachable = _unreachable(state)
    if _probe_at(state.cause) is not None:
        subject = "Once workers run, it" if state.lacks_worker else "It"
        then = f"{subject} continues when a probe succeeds, or at once after a resume."
        return then if unreachable is None else f"{unreachable} {then}"
    if unreachable is not None:
        return f"{unreachable} Afterwards, resume."
    return _OTHER_REPAIR if state.cause is None else _repair_of(state.cause)


def _repair_of(cause: Cause) -> str:
    status = None if cause.attempts is None else cause.attempts.status
    usual = _REPAIR.get(cause.kind, _OTHER_REPAIR)
    if cause.kind != "rejected" or status is None:
        return usual
    return _REDIRECTED if 300 <= status < 400 else _REJECTED.get(status, usual)  # noqa: PLR2004 - redirections of RFC 9110


def _needs_keys(state: SubscriptionState) -> bool:
    """Whether the reason is a missing key.

    If so, the document with masked secrets that `webhooks subscriptions get` prints can't be applied either.
    """
    if state.state not in {"broken", "failure"}:
        return False
    # Messages of other kinds may quote a token endpoint or a receiver.
    cause = state.cause if state.cause is not None and state.cause.kind == "configuration" else None
    return is_undecryptable(state.problem) or (cause is not None and is_undecryptable(cause.message))


def _unreachable(state: SubscriptionState) -> str | None:
    """Advice if no answer can come from the receiver's address. None if the receiver answered or may still answer."""
    failed = state.error if state.cause is None else state.cause if state.cause.kind == "exception" else None
    if failed is None:
        return None
    return next((advice for pattern, advice in _UNREACHABLE.items() if pattern.match(failed.message)), None)


def _commands(state: SubscriptionState, lane: LaneSummary | None, *, names_topic: bool) -> Iterator[str]:
    name = quote(state.id)
    match state.state:
        case "failure":
            yield from _repair(name, state, lane, names_topic=names_topic)
        case "broken" if _needs_keys(state):
            return
        case "behind" if _has_caught_up(state):
            return
        case "broken" | "closed":
            yield from _edit(name)
        case "retrying" | "behind":
            yield f"webhooks attempts {name}"
        case "paused":
            yield f"{_CHANGE} resume {name}"
        case "stopped":
            yield f"{_CHANGE} start {name}"
        case "unowned":
            yield _CHECK
        case "live":
            return


def _repair(name: str, state: SubscriptionState, lane: LaneSummary | None, *, names_topic: bool) -> Iterator[str]:
    cause = state.cause
    kind = None if cause is None else cause.kind
    if state.lacks_worker:
        yield _CHECK
    if kind == "configuration" and not _needs_keys(state):
        yield from _edit(name)
        return
    yield f"{_CHANGE} resume {name}"
    if kind == "gone":
        yield f"{_CHANGE} delete {name}"
    if kind == "rejected" and cause is not None and cause.offset is not None and lane is not None:
        topic = f" --topic {quote(lane.topic)}" if names_topic else ""
        yield f"{_CHANGE} skip {name} {lane.partition} {cause.offset}{topic}"


def _edit(name: str) -> Iterator[str]:
    yield f"{_CHANGE} get {name} > subscription.yaml"
    yield f"{_CHANGE} apply subscription.yaml"
