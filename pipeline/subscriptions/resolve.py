"""Turns a decrypted wire subscription into the `core.subscription.Subscription` of the delivery path.

Pure except for key stores, which may be files and take time to open.
"""

from array import array
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Final, TypeVar

from pydantic import TypeAdapter, ValidationError

from pipeline.config.definition import Definition
from pipeline.config.keystores.opening import Opener
from pipeline.config.schema import read
from pipeline.core.errors import ConfigurationError
from pipeline.core.subscription import (
    DEFAULT_RETRYABLE_STATUSES,
    DesiredStatus,
    Handshake,
    Header,
    HttpLimits,
    Jitter,
    Qos,
    Rate,
    ReplayOffset,
    ReplayTimestamp,
    ResumeFrom,
    RetryPolicy,
    RetryStrategy,
    Routing,
    Skip,
    Start,
    Subscription,
)
from pipeline.http.signature import Signer
from pipeline.subscriptions import schema as wire
from pipeline.subscriptions.auth import auth_of
from pipeline.subscriptions.fields import instant
from pipeline.subscriptions.filters import event_filter
from pipeline.subscriptions.schema import OPTIONS
from pipeline.subscriptions.tls import tls_options

Part = TypeVar("Part")

MOST_HEADERS: Final = 100
MOST_HEADER_CHARACTERS: Final = 16_384
"""The limit for the names and values of all headers; few receivers accept more.

Each value may be a secret, so the event loop searches the receiver's error answers for each value.
"""

_CREATED: Final = TypeAdapter[int | None](wire.Offset | None)
_METADATA: Final = TypeAdapter[Mapping[str, str]](dict[str, str])
_STARTS: Final = TypeAdapter[dict[str, wire.WireStart] | None](wire.Starts | None)


def to_subscription(
    subscription: wire.WireSubscription, definition: Definition, revision: int, opener: Opener
) -> Subscription:
    """The subscription as the delivery path uses it.

    Args:
        subscription: the subscription with decrypted secrets.
        definition: the API definition, which defines the defaults of fields that the subscription leaves out.
        revision: the offset of its record.
        opener: opens key stores.

    Raises:
        ConfigurationError: a value can't be used; names the field, never a secret.
    """
    options = subscription.configuration.entrypoint_configuration
    qos = Qos(subscription.qos) if subscription.qos else definition.qos
    # With `key`, these fields are ignored. Records may have them from a time when the routing was `match`.
    matches = definition.stated_routing is Routing.MATCH
    return Subscription(
        id=subscription.id,
        revision=revision,
        url=options.callback_url,
        qos=qos,
        headers=_headers(options.headers or ()),
        auth=auth_of(options.auth, f"{OPTIONS}.auth", definition.key_store_dir, opener),
        tls=tls_options(options.ssl, f"{OPTIONS}.ssl", definition.key_store_dir, opener),
        proxy=definition.proxy,
        use_system_proxy=definition.use_system_proxy,
        retry=_retry(options.retry, qos),
        rate=None if options.rate is None else Rate(options.rate.events_per_second, options.rate.burst),
        filter=None if options.filter is None else event_filter(options.filter, f"{OPTIONS}.filter"),
        handshake=_handshake(options.handshake),
        interrupt=definition.interrupt,
        probes=definition.probes,
        http=_http(options.http, definition),
        concurrency=_concurrency(options.http, definition, qos),
        created=_created(subscription.created_revision, revision),
        starts=_starts(subscription.start) if matches else None,
        topics=frozenset(subscription.topics) if matches and subscription.topics else None,
        metadata=subscription.metadata or {},
        signing_secrets=_signing_secrets(options.signing),
        desired_status=_desired_status(subscription),
        starting_at=instant(subscription.starting_at) if subscription.starting_at else None,
        ending_at=instant(subscription.ending_at) if subscription.ending_at else None,
        resume_from=command_of(subscription.resume_from, partial(_topic_of_command, subscription, definition)),
    )


def _headers(asked: Sequence[wire.WireHeader]) -> tuple[Header, ...]:
    characters = sum(len(header.name) + len(header.value) for header in asked)
    if len(asked) > MOST_HEADERS or characters > MOST_HEADER_CHARACTERS:
        raise ConfigurationError(
            f"{OPTIONS}.headers: contains {len(asked)} headers with {characters} characters in all; "
            f"allowed: {MOST_HEADERS} headers with {MOST_HEADER_CHARACTERS} characters"
        )
    return tuple(Header(header.name, header.value) for header in asked)


def broken(
    subscription_id: str, definition: Definition, revision: int, problem: str, record: Mapping[str, object]
) -> Subscription:
    """A replacement for a subscription whose record can't be used: its lanes are in FAILURE because of *problem*.

    Its beginning is read from the *record* if possible, so that it does not change when the subscription is corrected.
    """
    return Subscription(
        id=subscription_id,
        revision=revision,
        url="",
        qos=definition.qos,
        created=_created(_readable(_CREATED, record.get("createdRevision")), revision),
        starts=_starts(_readable(_STARTS, record.get("start"))) if definition.stated_routing is Routing.MATCH else None,
        metadata=_readable(_METADATA, record.get("metadata")) or {},
        problem=problem,
    )


def _readable(kind: TypeAdapter[Part], value: object) -> Part | None:
    try:
        return kind.validate_python(value, strict=True)
    except (ValidationError, RecursionError):
        return None


def _created(revision_of_first: int | None, revision: int) -> int:
    # In a copy of the topic, a record's offset may differ from the revision that the record contains.
    return revision if revision_of_first is None else min(revision_of_first, revision)


def _starts(starts: Mapping[str, wire.WireStart] | None) -> Mapping[str, Start] | None:
    if starts is None:
        return None
    return {topic: Start(_compact(tuple(start.offsets)), start.topic_id) for topic, start in starts.items()}


@lru_cache(maxsize=64)
def _compact(offsets: tuple[int, ...]) -> Sequence[int]:
    """The offsets in 8 bytes each. Subscriptions that were applied together have equal offsets and share them."""
    return array("q", offsets)


def has_stores(subscription: wire.WireSubscription) -> bool:
    """Whether `to_subscription` has key stores or keys to open, which takes time."""
    options = subscription.configuration.entrypoint_configuration
    ssl, auth = options.ssl, options.auth
    return (ssl is not None and (ssl.trust_store or ssl.key_store) is not None) or (
        auth is not None and auth.jwt_profile_oauth2 is not None
    )


def check_limits(subscription: wire.WireSubscription, definition: Definition) -> None:
    """Check that `http` raises no limit above the entrypoint's.

    Raises:
        ConfigurationError: a limit is above the entrypoint's. (`to_subscription` lowers a limit that was allowed
            earlier, so that a change of the definition breaks no subscription.)
    """
    options = subscription.configuration.entrypoint_configuration.http
    if options is None:
        return
    limits = definition.http
    allowed = {
        "connectTimeout": (options.connect_timeout, round(limits.connect_timeout_seconds * 1000)),
        "readTimeout": (options.read_timeout, round(limits.read_timeout_seconds * 1000)),
        "idleTimeout": (options.idle_timeout, round(limits.idle_timeout_seconds * 1000)),
        "maxConcurrentConnections": (options.max_concurrent_connections, definition.max_concurrent_connections),
    }
    problems = [
        f"{OPTIONS}.http.{name}: {value} is more than the entrypoint allows; allowed: 1 to {limit}"
        for name, (value, limit) in allowed.items()
        if value is not None and value > limit
    ]
    if problems:
        raise ConfigurationError(problems)


def _http(options: wire.HttpOptions | None, definition: Definition) -> HttpLimits:
    limits = definition.http
    if options is None:
        return limits
    return HttpLimits(
        connect_timeout_seconds=_lower(options.connect_timeout, limits.connect_timeout_seconds),
        read_timeout_seconds=_lower(options.read_timeout, limits.read_timeout_seconds),
        idle_timeout_seconds=_lower(options.idle_timeout, limits.idle_timeout_seconds),
    )


def _concurrency(options: wire.HttpOptions | None, definition: Definition, qos: Qos) -> int:
    if qos.is_ordered:
        return 1
    limit = definition.max_concurrent_connections
    own = None if options is None else options.max_concurrent_connections
    return min(own or limit, limit)


def _lower(milliseconds: int | None, limit_seconds: float) -> float:
    return limit_seconds if milliseconds is None else min(milliseconds / 1000, limit_seconds)


def _retry(retry: wire.Retry | None, qos: Qos) -> RetryPolicy:
    if retry is None:
        return _shared(RetryPolicy(enabled=qos is not Qos.NONE))
    policy = RetryPolicy(
        enabled=qos is not Qos.NONE and retry.retry_option == "Retry On Fail",
        strategy=RetryStrategy(retry.retry_strategy),
        max_attempts=retry.max_attempts,
        initial_delay_seconds=float(retry.initial_delay_seconds),
        max_delay_seconds=float(retry.max_delay_seconds),
        jitter=Jitter(retry.jitter),
        max_elapsed_seconds=None if retry.max_elapsed_seconds is None else float(retry.max_elapsed_seconds),
        statuses=DEFAULT_RETRYABLE_STATUSES if retry.status_codes is None else _statuses(retry.status_codes),
    )
    return _shared(policy)


@lru_cache(maxsize=64)
def _shared(policy: RetryPolicy) -> RetryPolicy:
    """One object for all equal policies, because most subscriptions have the same policy."""
    return policy


def _statuses(codes: Sequence[int | str]) -> frozenset[int]:
    """The status codes; a code may also be a class such as `5xx`."""
    statuses: set[int] = set()
    for code in codes:
        first = int(code[0]) * 100 if isinstance(code, str) else code
        statuses.update(range(first, first + 100) if isinstance(code, str) else (first,))
    return frozenset(statuses)


def _handshake(handshake: wire.WireHandshake | None) -> Handshake | None:
    return None if handshake is None else Handshake(handshake.origin, handshake.rate_per_minute)


def _signing_secrets(signing: wire.Signing | None) -> tuple[str, ...]:
    if signing is None:
        return ()
    secrets = tuple(signing.secrets)
    try:
        Signer.from_secrets(secrets)
    except ConfigurationError as error:
        problems = [f"{OPTIONS}.{problem}" for problem in error.problems]
    else:
        return secrets
    raise ConfigurationError(problems)


def _desired_status(subscription: wire.WireSubscription) -> DesiredStatus:
    if subscription.status == "CLOSED":
        return DesiredStatus.CLOSED
    if subscription.status == "PAUSED":
        return DesiredStatus.PAUSED
    return DesiredStatus.STOPPED if subscription.consumer_status == "STOPPED" else DesiredStatus.DELIVER


def replay_time_ms(timestamp: str) -> int:
    """The time of a replay in Unix milliseconds.

    Raises:
        ConfigurationError: *timestamp* is not a valid `timestamp` of a `resumeFrom`.
    """
    read(wire.ResumeFrom, {"timestamp": timestamp}, "resumeFrom")
    return int(instant(timestamp) * 1000)


def _topic_of_command(subscription: wire.WireSubscription, definition: Definition, topic: str | None) -> str | None:
    """The topic of a command that names a partition.

    A command without a topic was written when there was one source topic. If there are several source topics now, the
    command is for the topic in which the subscription begins. If the record does not tell which topic that is, the
    command applies to no topic.
    """
    if topic is not None or len(definition.source.topics) == 1:
        return topic
    starts = list(subscription.start or ())
    return starts[0] if len(starts) == 1 else ""


def command_of(resume: wire.ResumeFrom | None, topic_of: Callable[[str | None], str | None]) -> ResumeFrom | None:
    """The command of a `resumeFrom`. *topic_of* finds the topic of a command, given the topic that it names or None."""
    if resume is None:
        return None
    if resume.skip is not None:
        return Skip(resume.skip.partition, resume.skip.offset, topic_of(resume.skip.topic))
    if resume.partition is not None and resume.offset is not None:
        discards = bool(resume.discard_waiting)
        return ReplayOffset(resume.partition, resume.offset, discards, topic_of(resume.topic))
    if resume.timestamp is not None:
        return ReplayTimestamp(round(instant(resume.timestamp) * 1000), bool(resume.discard_waiting))
    return None
