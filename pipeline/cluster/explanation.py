"""Explains a subscription's state in one paragraph: why, since when, how many events wait, what to do. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Final

from pipeline.cluster.state import DESIRED, LaneSummary, State, SubscriptionState
from pipeline.core.clock import shown_time
from pipeline.core.model import Cause
from pipeline.core.shown import as_partitions
from pipeline.observability.shown import shown_slow_start, shown_text

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
    "broken": "Correct it, and apply it again.",
    "unowned": "Start workers, or find out why the running ones are not ready: see `/health/ready` of each worker.",
    "retrying": "It continues without your help. See what the receiver answers:",
    "behind": "It catches up without your help. See what the receiver accepts:",
    "paused": "Resume it when its events may be sent:",
    "stopped": "Start it when its events may be sent:",
    "closed": "To open it again, apply it with the status ACCEPTED.",
    "live": "There is nothing to do.",
}
_REPAIR: Final = {
    "rejected": "Change the receiver so that it accepts the event, then resume; or skip the event.",
    "gone": "The receiver answered that it wants no more events. Delete the subscription or, if this is wrong, resume.",
    "token": "Repair the token endpoint or the credentials, then resume.",
    "handshake": "Let the receiver permit calls when it is asked (handshake), then resume.",
    "configuration": "Correct the subscription and apply it, which also resumes.",
    "dead-letter": "Repair the dead-letter topic, then resume.",
    "cursor": "Resume from the offset that the cause names.",
}
_OTHER_REPAIR: Final = "Repair the receiver, then resume."
_CHANGE: Final = "webhooks subscriptions"


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
    parts = (
        _stands(state, names_topic=names_topic),
        *_since(state),
        *_next(state),
        *_slow(state),
        _waiting(state),
        *_success(state),
        *_hidden_failure(state),
        _advice(state),
    )
    return Explanation(" ".join(parts), tuple(_commands(state, lane, names_topic=names_topic)))


def _stands(state: SubscriptionState, *, names_topic: bool) -> str:
    where = ""
    if state.state not in DESIRED:
        lanes = [lane for lane in state.lanes if lane.state == state.state]
        where = _where(lanes, names_topic=names_topic)
    return f"{state.id} {_STANDS[state.state]}{where}{_why(state)}."


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
    tries = f"after {state.attempts} attempt{'s'[: state.attempts != 1]}" if state.attempts else ""
    if since is not None:
        yield f"It has failed since {since}{f', {tries}' if tries else ''}."
    elif tries and state.error is not None:
        yield f"It has failed {tries}."


def _next(state: SubscriptionState) -> Iterator[str]:
    probe_at = _probe_at(state.cause)
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
        return "How many events wait is not known."
    if not count:
        return "No event waits."
    events = f"{count:,} event{'s wait' if count != 1 else ' waits'}"
    oldest = None if state.oldest_waiting_at is None else shown_time(state.oldest_waiting_at)
    return f"{'' if state.waiting_is_exact else 'At most '}{events}{f', the oldest since {oldest}' if oldest else ''}."


def _success(state: SubscriptionState) -> Iterator[str]:
    if state.last_success_at is not None:
        yield f"The last known delivery was at {shown_time(state.last_success_at)}."


def _hidden_failure(state: SubscriptionState) -> Iterator[str]:
    """A sentence about the FAILURE of a subscription that was paused afterwards."""
    failed = next((lane for lane in state.lanes if lane.state == "failure" != state.state), None)
    if failed is not None:
        why = "" if failed.cause is None else f": {shown_text(failed.cause.message)}"
        yield f"It is also in FAILURE{why}."


def _advice(state: SubscriptionState) -> str:
    if state.state != "failure":
        return _ADVICE[state.state]
    if _probe_at(state.cause) is not None:
        return "It continues when a probe succeeds, or at once after a resume."
    return _OTHER_REPAIR if state.cause is None else _REPAIR.get(state.cause.kind, _OTHER_REPAIR)


def _commands(state: SubscriptionState, lane: LaneSummary | None, *, names_topic: bool) -> Iterator[str]:
    name = quote(state.id)
    match state.state:
        case "failure":
            yield from _repair(name, state.cause, lane, names_topic=names_topic)
        case "broken" | "closed":
            yield from _edit(name)
        case "retrying" | "behind":
            yield f"webhooks attempts {name}"
        case "paused":
            yield f"{_CHANGE} resume {name}"
        case "stopped":
            yield f"{_CHANGE} start {name}"
        case "unowned":
            yield "webhooks check"
        case "live":
            return


def _repair(name: str, cause: Cause | None, lane: LaneSummary | None, *, names_topic: bool) -> Iterator[str]:
    kind = None if cause is None else cause.kind
    if kind == "configuration":
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
