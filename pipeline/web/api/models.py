"""The shapes of requests and answers; openapi.py describes them."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints, field_validator, model_validator

from pipeline.config.schema import StrictModel, problem
from pipeline.core.keys import LONGEST_ID
from pipeline.core.shown import shown
from pipeline.subscriptions.fields import instant
from pipeline.subscriptions.schema import Offset, Partition, WireSubscription

SubscriptionId = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_ID)]
Limit = Annotated[int, Field(ge=1, le=1000)]
Schema = dict[str, Any]

_READ_ONLY: Schema = {
    "revision": {"type": "integer", "readOnly": True, "description": "Grows with every change; the ETag."},
    "problem": {"type": "string", "readOnly": True, "description": "Why it can't be used."},
    "routing": {"enum": ["key", "match", None], "readOnly": True},
}


class ProblemDetails(StrictModel):
    """An error (RFC 9457). `problems` has one sentence per mistake, which begins with the name of the field."""

    type: str
    title: str
    status: int
    detail: str
    problems: list[str] | None = None


def _as_request(schema: Schema) -> None:
    # What an answer shows may be sent back; it has no effect.
    schema["properties"] |= {**{name: {"readOnly": True} for name in WireSubscription.without_meaning}, **_READ_ONLY}
    schema["required"].remove("id")


class SubscriptionDocument(WireSubscription):
    """A subscription as a request contains it. A masked secret keeps its stored value."""

    model_config = ConfigDict(json_schema_extra=_as_request)


def _as_shown(schema: Schema) -> None:
    schema["properties"] |= _READ_ONLY
    # A record that can't be read has nothing else.
    schema["required"] = ["id", "revision"]


class ShownSubscription(WireSubscription):
    """A subscription with its secrets masked."""

    model_config = ConfigDict(json_schema_extra=_as_shown)


class SubscriptionPage(StrictModel):
    """Subscriptions by id. `next` is the value of `after` for the next page; null on the last one."""

    items: list[ShownSubscription]
    next: str | None
    total: int


class Changed(StrictModel):
    """What a change did. `revision` is the newest one, whether the change wrote it or found it."""

    id: str
    result: Literal["created", "updated", "unchanged", "deleted"]
    revision: int
    warning: str | None = None


class PartitionEffect(StrictModel):
    """What an action does in one partition, as a sentence and as facts. Numbers of events are upper bounds.

    `next`: where the subscription stands before; `from`: where it goes on.
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
    """What an action did.

    `waiting`: how many events waited for the subscription before, null if that is not known exactly; `waitingAtMost`:
    that number or an upper bound. `partitions`: what a skip or a replay does in each partition; null if that could not
    be found out, with the `problem`.
    """

    waiting: int | None = None
    waiting_at_most: int | None = None
    partitions: list[PartitionEffect] | None = None
    problem: str | None = None


class Skip(StrictModel):
    """One event of the source topic."""

    partition: Partition
    offset: Offset


class Replay(StrictModel):
    """Where to deliver again from: an offset of one partition, or a time (RFC 3339) in all of them."""

    partition: Partition | None = None
    offset: Offset | None = None
    timestamp: str | None = None
    discard_waiting: bool = False
    dry_run: bool = False

    @model_validator(mode="after")
    def _is_one_form(self) -> "Replay":
        values = self.model_dump(include={"partition", "offset", "timestamp"}, exclude_none=True)
        if {*values} not in ({"partition", "offset"}, {"timestamp"}):
            raise problem('allowed: {"partition", "offset"} or {"timestamp"}')
        return self

    @field_validator("timestamp")
    @classmethod
    def _is_time(cls, text: str | None) -> str | None:
        if text is not None and instant(text) < 0:
            raise problem(f"{shown(text)} is before 1970")
        return text


class ConsumerStatusQuery(StrictModel):
    """The status to change to."""

    status: Literal["STARTED", "STOPPED"]


class ListQuery(StrictModel):
    """Which subscriptions to list."""

    q: Annotated[str, Field(description="A part of the id or of the receiver's host name.")] | None = None
    limit: Annotated[Limit, Field(description="Subscriptions on a page.")] = 100
    after: Annotated[str, Field(description="Only ids after this one: `next` of the page before.")] | None = None


class OpenApiDocument(StrictModel):
    """An OpenAPI description."""

    model_config = ConfigDict(extra="allow")

    openapi: str
