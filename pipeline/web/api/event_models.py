"""The models of requests and answers about events, dead letters and secrets."""

from typing import Annotated

from pydantic import Field, JsonValue, field_validator, model_validator

from pipeline.cluster.fate import FateStatus
from pipeline.config.schema import Secret, StrictModel, problem
from pipeline.core.errors import ConfigurationError
from pipeline.core.policy import Reason
from pipeline.core.shown import shown
from pipeline.core.webhook_ids import ADDRESSEE, FIRST_ID, SEAL
from pipeline.http.signature import Signer
from pipeline.web.api.models import Changed, Instant, Limit, SubscriptionId

RecordHeaders = Annotated[dict[str, str], Field(max_length=100)]


class Match(StrictModel):
    """An event. A string in `value` is the body; any other value becomes JSON. `routing: key` needs `key`."""

    topic: str | None = None
    key: SubscriptionId | None = None
    headers: RecordHeaders = Field(default_factory=dict)
    value: JsonValue = None
    limit: Limit = 100


class Mismatch(StrictModel):
    """A failed comparison in a filter. If the text that was found is long, `found` contains its beginning."""

    place: str
    comparison: str
    wanted: list[str]
    found: list[str]
    is_excluded: bool


class Verdict(StrictModel):
    """Whether a subscription would get the event. `wish` is the desired status of the subscription.

    `reasons` says why, in sentences. `mismatches` lists the failed comparisons of its filter.
    """

    id: str
    gets_it: bool
    wish: str
    problem: str | None
    reasons: list[str]
    mismatches: list[Mismatch]


class Matched(StrictModel):
    """The subscriptions that would get the event: `matched` of `total`."""

    topic: str
    routing: str
    matched: int
    total: int
    subscriptions: list[Verdict]


class TestEvent(StrictModel):
    """A test event. A string in `value` is the body; any other value is encoded as JSON.

    By default, the body is a JSON object that says that this is a test.
    """

    __test__ = False  # pytest collects classes with such a name

    topic: str | None = None
    headers: RecordHeaders = Field(default_factory=dict)
    value: JsonValue = None

    @field_validator("headers")
    @classmethod
    def _are_free(cls, headers: dict[str, str]) -> dict[str, str]:
        for name in headers:
            if name in {FIRST_ID, ADDRESSEE, SEAL}:
                raise problem(f"{shown(name)} is a header that only the pipeline sets")
        return headers


class Sent(StrictModel):
    """The event that was written."""

    id: str
    webhook_id: str


class AttemptQuery(StrictModel):
    """Which attempts to list."""

    after: Annotated[str, Field(description="`next` of the previous page.")] | None = None
    limit: Limit = 50


class Entry(StrictModel):
    """An attempt, or the end of an event. Unknown values are left out.

    `decision` is what followed the attempt. `response` is the beginning of the answer.
    """

    at: str
    subscription: str | None = None
    webhook_id: str | None = None
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    decision: str | None = None
    reason: str | None = None
    attempt: int | None = None
    host: str | None = None
    status: int | None = None
    duration_ms: int | None = None
    error: str | None = None
    response: str | None = None
    next_at: str | None = None


class Attempts(StrictModel):
    """Entries of the attempt log, newest first."""

    items: list[Entry]
    next: str | None
    searched_to: str | None


class FateQuery(StrictModel):
    """The subscription in question; by default, all subscriptions that the event was or is for."""

    subscription: SubscriptionId | None = None


class EventFate(StrictModel):
    """What became of an event for a subscription. `subscription` is null if the event was for no known one."""

    webhook_id: str
    subscription: str | None
    fate: FateStatus
    at: str | None
    why: str | None
    entries: list[Entry]


class Fates(StrictModel):
    """What became of an event, by subscription."""

    items: list[EventFate]


class LetterQuery(StrictModel):
    """Which dead letters to list."""

    subscription: SubscriptionId | None = None
    reason: Reason | None = None
    since: Annotated[Instant, Field(description="Only letters written since this time.")] | None = None
    limit: Limit = 50


class Letter(StrictModel):
    """A dead letter. `place` is its position, `source` the topic of its event."""

    place: str
    subscription: str | None
    source: str | None
    reason: str | None
    status: int | None
    error: str | None
    attempts: int | None
    webhook_id: str | None
    at: str | None
    redriven: bool | None


class Letters(StrictModel):
    """Dead letters, newest first. `problems` says what can't be read at present."""

    items: list[Letter]
    has_more: bool
    problems: list[str]


class RedriveRequest(StrictModel):
    """Which dead letters to write back."""

    subscription: SubscriptionId | None = None
    skipped: bool = False
    limit: Annotated[int, Field(ge=1, le=10_000)] = 1000
    dry_run: bool = False

    @model_validator(mode="after")
    def _is_one_kind(self) -> "RedriveRequest":
        if self.skipped and self.subscription is not None:
            raise problem(
                "is only allowed without subscription, which also redrives letters that are otherwise skipped",
                "skipped",
            )
        return self


class RedrivenLetter(StrictModel):
    """The result for a letter. `to` is where it was written, `whyNot` the reason if it was not written."""

    letter: str
    subscription: str | None
    webhook_id: str | None
    to: str | None
    why_not: str | None


class RedriveResult(StrictModel):
    """How many letters were written back (or would be, with `dryRun`), and how many were skipped."""

    redriven: int
    skipped: int
    changed: int
    dry_run: bool
    letters: list[RedrivenLetter]
    problems: list[str]


class RotateSecret(StrictModel):
    """A new signing secret, `whsec_…` or `whsk_…`; null generates one. `keep`: how many former secrets also sign."""

    secret: Secret | None = None
    keep: Annotated[int, Field(ge=0, le=9)] = 1

    @field_validator("secret")
    @classmethod
    def _can_sign(cls, secret: str | None) -> str | None:
        # Without this, the error would name a place in the stored subscription.
        try:
            Signer.from_secrets(() if secret is None else (secret,))
        except ConfigurationError as error:
            raise problem(str(error).partition(": ")[2]) from None
        return secret


class RotatedSecret(Changed):
    """The result of a rotation. `secret` is the generated secret, never shown again; null if none was generated."""

    secret: str | None = None
