"""The strict wire models of a subscription. envelope.py reads and writes whole documents with them.

A secret may still be encrypted here (secrets.py), so resolve.py validates its value later.
"""

import re
from collections.abc import Container
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, StringConstraints, field_validator, model_validator
from pydantic_core import PydanticCustomError

from pipeline.config.definition_schema import MAX_CONCURRENT_CONNECTIONS, Milliseconds, WebhookType
from pipeline.config.model_fields import SecretMark, UrlMark
from pipeline.config.schema import Name, Secret, StrictModel, problem
from pipeline.core.credentials import names_credential
from pipeline.core.keys import LONGEST_ID
from pipeline.core.shown import shown
from pipeline.http.headers import is_name
from pipeline.subscriptions.auth_schema import Auth
from pipeline.subscriptions.fields import check_url, has_controls, instant
from pipeline.subscriptions.tls_schema import Ssl

Seconds = Annotated[int, Field(ge=1, le=604_800)]
Partition = Annotated[int, Field(ge=0, le=2**31 - 1)]
Offset = Annotated[int, Field(ge=0, le=2**63 - 2)]

# The path of the entrypoint's fields in a subscription; every error uses it.
OPTIONS: Final = "configuration.entrypointConfiguration"
_STATUS_CLASSES: Final = {"3xx", "4xx", "5xx"}
_STATUS_CODES: Final = range(300, 600)
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")

NOW: Final = "now"
EARLIEST: Final = "earliest"
GROUP: Final = "group:"
"""Values of `startFrom`; the last one is the prefix of a consumer group's name. Any other value is a time."""

MOST_TOPICS: Final = 1000
MOST_PARTITIONS: Final = 100_000


class WireHeader(StrictModel):
    """A header of every call. Its name decides whether its value is a secret."""

    name: Name
    value: Annotated[str, SecretMark()]

    @field_validator("name")
    @classmethod
    def _is_token(cls, name: str) -> str:
        if not is_name(name):
            raise problem(f"{shown(name)} is not a header name; allowed: letters, digits and !#$%&'*+.^_`|~-")
        return name

    @field_validator("value")
    @classmethod
    def _is_field_value(cls, value: str) -> str:
        if has_controls(value.replace("\t", "")):
            raise problem("must not contain control characters")
        try:
            value.encode("latin-1")
        except UnicodeEncodeError:
            raise problem("must not contain characters outside ISO-8859-1") from None
        return value

    def secret_fields(self) -> frozenset[str]:
        """The value, if the name suggests credentials."""
        return frozenset({"value"}) if names_credential(self.name) else frozenset()


def _status(code: object) -> object:
    known: Container[object] = _STATUS_CLASSES if isinstance(code, str) else _STATUS_CODES
    if not isinstance(code, int | str) or code not in known:
        raise problem(f"{shown(code)} is not allowed; allowed: 300 to 599, and the classes 3xx, 4xx and 5xx")
    return code


class Retry(StrictModel):
    """When to retry."""

    retry_option: Literal["Retry On Fail", "No Retry"] = "Retry On Fail"
    retry_strategy: Literal["LINEAR", "EXPONENTIAL"] = "EXPONENTIAL"
    max_attempts: Annotated[int, Field(ge=1, le=10_000)] = 3
    initial_delay_seconds: Seconds = 10
    max_delay_seconds: Seconds = 30
    jitter: Literal["AROUND", "FULL", "NONE"] = "AROUND"
    max_elapsed_seconds: Seconds | None = None
    status_codes: Annotated[list[Annotated[int | str, BeforeValidator(_status)]], Field(max_length=300)] | None = None

    @model_validator(mode="after")
    def _starts_below_its_end(self) -> "Retry":
        if self.initial_delay_seconds > self.max_delay_seconds:
            raise problem(
                f"{self.initial_delay_seconds} is more than maxDelaySeconds, {self.max_delay_seconds}",
                "initialDelaySeconds",
            )
        return self


class Signing(StrictModel):
    """Standard Webhooks: one signature per secret."""

    secrets: Annotated[list[Secret], Field(min_length=1, max_length=10)]


class Rate(StrictModel):
    """The maximum rate of calls; every attempt counts."""

    events_per_second: Annotated[float, Field(ge=0.001, le=1_000_000)]
    burst: Annotated[int, Field(ge=1, le=1_000_000)] = 1

    @field_validator("events_per_second", mode="before")
    @classmethod
    def _whole_numbers_too(cls, value: object) -> object:
        return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


class WireHandshake(StrictModel):
    """Ask the receiver for permission before the first delivery (CloudEvents webhooks, section 4)."""

    origin: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    rate_per_minute: Annotated[int, Field(ge=1, le=60_000_000)] | None = None

    @field_validator("origin")
    @classmethod
    def _is_name(cls, origin: str) -> str:
        if not _HOST_NAME.fullmatch(origin):
            raise problem(f"{shown(origin)} is not a DNS name, such as events.example.com: no scheme, port or path")
        return origin


class HttpOptions(StrictModel):
    """Limits that are lower than the entrypoint's; null means the entrypoint's limit."""

    connect_timeout: Milliseconds | None = None
    read_timeout: Milliseconds | None = None
    idle_timeout: Milliseconds | None = None
    max_concurrent_connections: Annotated[int, Field(ge=1, le=MAX_CONCURRENT_CONNECTIONS)] | None = None


class EntrypointConfiguration(StrictModel):
    """How the receiver is called."""

    callback_url: Annotated[str, UrlMark(), StringConstraints(min_length=1)]
    headers: list[WireHeader] | None = None
    auth: Auth | None = None
    ssl: Ssl | None = None
    retry: Retry | None = None
    rate: Rate | None = None
    filter: dict[str, Any] | None = None
    handshake: WireHandshake | None = None
    signing: Signing | None = None
    http: HttpOptions | None = None

    @field_validator("callback_url")
    @classmethod
    def _is_url(cls, url: str) -> str:
        return check_url(url, "auth")


class Configuration(StrictModel):
    """The newer envelope. Records are written in this form."""

    entrypoint_id: WebhookType = "webhook"
    channel: str | None = None
    entrypoint_configuration: EntrypointConfiguration


class WireSkip(StrictModel):
    """One event to skip. With one source topic, `topic` may be left out."""

    topic: Name | None = None
    partition: Partition
    offset: Offset


class ResumeFrom(StrictModel):
    """Where to continue: after a skipped event, at an offset, or at a time. Exactly one of them is set."""

    skip: WireSkip | None = None
    topic: Name | None = None
    partition: Partition | None = None
    offset: Offset | None = None
    timestamp: str | None = None
    discard_waiting: bool | None = None

    @field_validator("timestamp")
    @classmethod
    def _is_time(cls, text: str | None) -> str | None:
        if text is not None and instant(text) < 0:
            raise problem(f"{shown(text)} is before 1970")
        return text

    @model_validator(mode="after")
    def _is_one_form(self) -> "ResumeFrom":
        by_offset = self.partition is not None and self.offset is not None
        forms = [self.skip is not None, by_offset, self.timestamp is not None]
        is_half = (self.partition is None) != (self.offset is None)
        if sum(forms) != 1 or is_half:
            raise problem('allowed: {"skip": {"partition", "offset"}}, {"partition", "offset"} or {"timestamp"}')
        if self.topic is not None and not by_offset:
            raise problem("is only allowed together with partition and offset", "topic")
        if self.skip is not None and self.discard_waiting:
            raise problem("is only allowed with an offset or a timestamp; a skip skips one event", "discardWaiting")
        return self


class WireStart(StrictModel):
    """Where a subscription begins in one source topic."""

    topic_id: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    offsets: Annotated[list[Offset], Field(max_length=MOST_PARTITIONS)]


Starts = Annotated[dict[str, WireStart], Field(max_length=MOST_TOPICS)]


class WireSubscription(StrictModel):
    """A subscription as consumers write it and as the topic holds it.

    Attributes:
        start: where the subscription begins, by source topic; only the store writes it.
        created_revision: the revision of the first record, which itself has no such field; only the store writes it.
    """

    # Shown with a subscription, so a document may contain them. They are never stored.
    without_meaning = frozenset({"delivery", "problem", "revision", "routing"})

    id: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_ID)]
    configuration: Configuration
    qos: Literal["none", "auto", "at-most-once", "at-least-once"] | None = None
    topics: Annotated[list[Name], Field(min_length=1, max_length=MOST_TOPICS)] | None = None
    start_from: str | None = None
    metadata: dict[str, str] | None = None
    starting_at: str | None = None
    ending_at: str | None = None
    status: Literal["ACCEPTED", "PAUSED", "CLOSED"] = "ACCEPTED"
    consumer_status: Literal["STARTED", "STOPPED"] = "STARTED"
    resume_from: ResumeFrom | None = None
    start: Starts | None = None
    created_revision: Offset | None = None

    @field_validator("id")
    @classmethod
    def _is_a_key(cls, value: str) -> str:
        if has_controls(value) or value != value.strip():
            raise problem("must not contain control characters, or spaces at either end")
        return value

    @field_validator("qos", mode="before")
    @classmethod
    def _any_spelling(cls, value: object) -> object:
        return value.lower().replace("_", "-") if isinstance(value, str) else value

    @field_validator("start_from")
    @classmethod
    def _is_a_beginning(cls, text: str | None) -> str | None:
        if text is None or text in {NOW, EARLIEST} or (text.startswith(GROUP) and text != GROUP):
            return text
        try:
            if instant(text) >= 0:
                return text
            why = f"{shown(text)} is before 1970"
        except PydanticCustomError as error:
            why = error.message()
        raise problem(f"{why}; also allowed: now, earliest, and group: with the name of a consumer group")

    @field_validator("starting_at", "ending_at")
    @classmethod
    def _is_time(cls, text: str | None) -> str | None:
        if text is not None:
            instant(text)
        return text

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> "WireSubscription":
        if self.starting_at and self.ending_at and instant(self.ending_at) <= instant(self.starting_at):
            raise problem(f"{shown(self.ending_at)} is not after startingAt, {shown(self.starting_at)}", "endingAt")
        return self
