"""The models of requests and answers, from which openapi.py makes schemas."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, model_validator

from pipeline.cluster.search import host_problem
from pipeline.cluster.state import Kind, State, StateFilter
from pipeline.config.schema import StrictModel, problem
from pipeline.core.clock import SystemClock
from pipeline.core.keys import LONGEST_ID
from pipeline.subscriptions.fields import as_instant
from pipeline.subscriptions.schema import Offset, Partition, WireSubscription

SubscriptionId = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_ID)]
Limit = Annotated[int, Field(ge=1, le=1000)]
Instant = Annotated[str, AfterValidator(lambda text: as_instant(text, SystemClock().now()))]
"""A time in any form that `as_instant` reads, converted to ISO 8601."""
Schema = dict[str, Any]


def _as_host(text: str) -> str:
    if (refusal := host_problem(text)) is not None:
        raise problem(refusal)
    return text


Host = Annotated[str, AfterValidator(_as_host)]
"""Host and port of a receiver, for filters."""
Metadata = Annotated[dict[str, str], Field(max_length=100)]

_READ_ONLY: Schema = {
    "revision": {"type": "integer", "readOnly": True, "description": "Increases with every change; also the ETag."},
    "problem": {"type": "string", "readOnly": True, "description": "Why the subscription can't be used."},
    "routing": {"enum": ["key", "match", None], "readOnly": True},
}


class ProblemDetails(StrictModel):
    """An error (RFC 9457). `problems` contains one sentence per mistake, which begins with the name of the field."""

    type: str
    title: str
    status: int
    detail: str
    problems: list[str] | None = None


def _as_request(schema: Schema) -> None:
    # Answers contain these fields, so documents that are sent back may have them. They have no effect.
    schema["properties"] |= {**{name: {"readOnly": True} for name in WireSubscription.without_meaning}, **_READ_ONLY}
    schema["required"].remove("id")


class SubscriptionDocument(WireSubscription):
    """A subscription in a request. A masked secret keeps its stored value."""

    model_config = ConfigDict(json_schema_extra=_as_request)


def _as_shown(schema: Schema) -> None:
    delivery = {"anyOf": [{"$ref": "#/components/schemas/Delivery"}, {"type": "null"}], "readOnly": True}
    schema["properties"] |= {**_READ_ONLY, "delivery": delivery}
    # For a record that can't be read, only these fields are known.
    schema["required"] = ["id", "revision"]


class ShownSubscription(WireSubscription):
    """A subscription with its secrets masked."""

    model_config = ConfigDict(json_schema_extra=_as_shown)


class SubscriptionPage(StrictModel):
    """Subscriptions, sorted by id. `next` is the value of `after` for the next page; null on the last page."""

    items: list[ShownSubscription]
    next: str | None
    total: int


class Changed(StrictModel):
    """The result of a change. `revision` is the newest revision, even if this change wrote nothing."""

    id: str
    result: Literal["created", "updated", "unchanged", "deleted"]
    revision: int
    warning: str | None = None


class PartitionEffect(StrictModel):
    """The effect of an action in one partition, as a sentence and as facts. Numbers of events are upper bounds.

    `next` is the position before the action, `from` the position after it.
    """

    partition: int
    sentence: str
    next: int | None = None
    skipped: int | None = None
    from_: Annotated[int | None, Field(alias="from")] = None
    sent_again_at_most: int | None = None
    discarded_at_most: int | None = None
    waiting_at_most: int | None = None
    problem: str | None = None


class Acted(Changed):
    """The result of an action.

    `waiting` is the exact number of events that waited before, null if unknown; `waitingAtMost` is an upper bound.
    `partitions` shows the effect of a skip or a replay in each partition; it is null if `problem` says why the effect
    is unknown.
    """

    waiting: int | None = None
    waiting_at_most: int | None = None
    partitions: list[PartitionEffect] | None = None
    problem: str | None = None


class Skip(StrictModel):
    """An event to skip. The topic may be left out if there is only one source topic."""

    topic: str | None = None
    partition: Partition
    offset: Offset


class Replay(StrictModel):
    """Where a replay begins: at an offset of one partition, or at a time in all partitions.

    The topic may be left out if there is only one source topic.
    """

    topic: str | None = None
    partition: Partition | None = None
    offset: Offset | None = None
    timestamp: Instant | None = None
    discard_waiting: bool = False
    dry_run: bool = False

    @model_validator(mode="after")
    def _is_one_form(self) -> "Replay":
        values = self.model_dump(include={"partition", "offset", "timestamp"}, exclude_none=True)
        if {*values} not in ({"partition", "offset"}, {"timestamp"}):
            raise problem('allowed: {"partition", "offset"} or {"timestamp"}')
        if self.topic is not None and self.partition is None:
            raise problem("is only allowed together with partition and offset", "topic")
        return self


class ConsumerStatusQuery(StrictModel):
    """The status to change to."""

    status: Literal["STARTED", "STOPPED"]


class FailedAttempt(StrictModel):
    """Why the last attempt failed."""

    message: str
    at: str
    status: int | None


class CauseOfFailure(StrictModel):
    """Why a subscription is in FAILURE. `offset` is the event's offset in its partition."""

    kind: str
    message: str
    offset: int | None
    at: str
    attempts: int | None
    first_attempt_at: str | None
    status: int | None
    probes: int | None
    next_probe_at: str | None


class CauseSomewhere(CauseOfFailure):
    """The cause in the most urgent partition. `topic`, `partition` and `offset` are the position of the event."""

    topic: str | None
    partition: int | None


class LaneDelivery(StrictModel):
    """A subscription in one partition; see `Delivery`."""

    topic: str
    partition: int
    state: State
    worker: str | None
    next: int | None
    cause: CauseOfFailure | None
    error: FailedAttempt | None
    attempts: int
    failing_since: str | None
    next_try_at: str | None
    last_success_at: str | None
    waiting: int | None
    waiting_at_most: int | None
    oldest_waiting_at: str | None


class SlowStart(StrictModel):
    """The limit after a receiver answered 429 or 503: a number of calls per second, and no call before a time.

    Any other answer increases the rate. `perSecond` is null if only the receiver's Retry-After applies.
    """

    per_second: float | None
    not_before: str | None


class DeadLetters(StrictModel):
    """The last events of a subscription, if they were all dead-lettered. `message` says why the last one was."""

    count: int
    since: str
    last_at: str
    message: str


class Delivery(StrictModel):
    """The state of a subscription in the whole cluster. Times are in RFC 3339 format; unknown values are null.

    `state`, `cause`, `error`, `attempts`, `failingSince` and `nextTryAt` are from the most urgent lane. `lanes` lists
    no lanes that are live and idle. `waiting` is the number of waiting events. If they have not been counted, it is
    null, and `waitingAtMost` is an upper bound.
    """

    state: State
    host: str
    cause: CauseSomewhere | None
    error: FailedAttempt | None
    attempts: int
    failing_since: str | None
    next_try_at: str | None
    last_success_at: str | None
    waiting: int | None
    waiting_at_most: int | None
    waiting_is_exact: bool
    oldest_waiting_at: str | None
    slow_start: SlowStart | None
    dead_letters: DeadLetters | None
    problem: str | None
    lanes: list[LaneDelivery]


class Filter(StrictModel):
    """A filter: subscriptions must match all given fields. Without any field, `all` must be true."""

    q: str | None = None
    state: list[State] | None = None
    cause: list[Kind] | None = None
    host: Host | None = None
    metadata: Metadata | None = None
    ids: Annotated[list[SubscriptionId], Field(max_length=10_000)] | None = None
    all: bool = False

    @model_validator(mode="after")
    def _says_what(self) -> "Filter":
        stated = self.model_dump(exclude={"all"}, exclude_none=True)
        if self.all == bool(stated):
            found = "has all: true together with other fields" if self.all else "is empty"
            raise problem(
                f"{found}; allowed: at least one of q, state, cause, host, metadata and ids; or only all: true"
            )
        return self

    def as_filter(self) -> StateFilter:
        """The filter for the view of the cluster."""
        return StateFilter(
            self.q or "",
            frozenset(self.state or ()),
            frozenset(self.cause or ()),
            self.host,
            self.metadata or {},
            None if self.ids is None else frozenset(self.ids),
        )


class Bulk(StrictModel):
    """A change of many subscriptions. `timestamp` and `discardWaiting` are for a replay."""

    action: Literal["pause", "resume", "start", "stop", "replay"]
    filter: Filter
    timestamp: Instant | None = None
    discard_waiting: bool = False
    dry_run: bool = False

    @model_validator(mode="after")
    def _fits_its_action(self) -> "Bulk":
        if (self.action == "replay") != (self.timestamp is not None):
            raise problem("is required for a replay, and not allowed for other actions", "timestamp")
        return self


class BulkProblem(StrictModel):
    """Why a subscription was not changed."""

    id: str
    problem: str


class BulkChanged(StrictModel):
    """The result of a change of many subscriptions. `ids` and `problems` contain the first hundred.

    `unconfirmed` is the number of changes that may or may not have been made, because the broker did not answer in
    time.
    """

    matched: int
    changed: int
    unchanged: int
    unconfirmed: int
    problems: list[BulkProblem]
    ids: list[str]
    waiting_at_most: int | None
    dry_run: bool


class ListQuery(StrictModel):
    """Which subscriptions to list."""

    q: Annotated[str, Field(description="A part of the id, of the receiver's host or of a metadata value.")] | None = (
        None
    )
    state: Annotated[list[State], Field(description="Subscriptions in one of these states.")] | None = None
    cause: Annotated[list[Kind], Field(description="Subscriptions with one of these kinds of failure.")] | None = None
    host: Annotated[Host, Field(description="Host and port of the receiver.")] | None = None
    metadata: (
        Annotated[Metadata, Field(description="Metadata that the subscriptions have, also as `metadata.NAME=VALUE`.")]
        | None
    ) = None
    limit: Annotated[Limit, Field(description="The largest number of subscriptions on a page.")] = 100
    after: Annotated[str, Field(description="Only ids after this one: `next` of the previous page.")] | None = None


class OpenApiDocument(StrictModel):
    """An OpenAPI description."""

    model_config = ConfigDict(extra="allow")

    openapi: str
