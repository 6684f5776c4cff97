"""A subscription as the delivery path uses it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal

from pipeline.core.model import Event, Status


class Qos(StrEnum):
    """The delivery guarantee of a subscription (docs/concepts.md, The four guarantees)."""

    NONE = "none"
    AUTO = "auto"
    AT_MOST_ONCE = "at-most-once"
    AT_LEAST_ONCE = "at-least-once"

    @property
    def is_ordered(self) -> bool:
        """Whether one event is in flight at a time, so that first deliveries follow the order of the log."""
        return self in {Qos.AT_MOST_ONCE, Qos.AT_LEAST_ONCE}


class Routing(StrEnum):
    """How an event finds its subscriptions.

    KEY: the event's key is the id of its only subscription. MATCH: the event goes to every subscription whose topics
    and filter match it.
    """

    KEY = "key"
    MATCH = "match"


Filter = Callable[[Event], bool]
"""Returns whether an event matches the filter of a subscription (core/filters.py). Pure, and never raises."""


class RetryStrategy(StrEnum):
    """How the delay between attempts grows."""

    LINEAR = "LINEAR"
    EXPONENTIAL = "EXPONENTIAL"


class Jitter(StrEnum):
    """How the delay between attempts is randomised, so that subscriptions that failed together don't retry together.

    AROUND draws evenly from half to one and a half times the delay (a randomization factor of 0.5 in
    exponential-backoff libraries), but never beyond the longest delay. FULL draws from 0 to the delay ("full jitter").
    It causes less load after a large outage, but all attempts may be used up soon.
    """

    AROUND = "AROUND"
    FULL = "FULL"
    NONE = "NONE"


BUSY_STATUSES: Final = frozenset({408, 425, 429})
"""Statuses below 500 with which a callback or a token endpoint says "not now"."""

DEFAULT_RETRYABLE_STATUSES: Final = BUSY_STATUSES | frozenset(range(500, 600))
"""Statuses that are retried unless a subscription names others."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When to try again.

    Attributes:
        enabled: False for `retryOption: No Retry`.
        strategy: LINEAR waits initial, 2 x initial, 3 x initial...; EXPONENTIAL initial, 2 x, 4 x...; both up to the
            maximum.
        max_attempts: the number of retries after the first attempt.
        initial_delay_seconds: the delay before the first retry.
        max_delay_seconds: the longest delay between two attempts; `Retry-After` may ask for up to ten times as much.
        jitter: how the delay is randomised.
        max_elapsed_seconds: no attempt begins later than this after the first one; None for no limit.
        statuses: the statuses that are retried; those beyond 599 are treated as 500.
    """

    enabled: bool = True
    strategy: RetryStrategy = RetryStrategy.EXPONENTIAL
    max_attempts: int = 3
    initial_delay_seconds: float = 10.0
    max_delay_seconds: float = 30.0
    jitter: Jitter = Jitter.AROUND
    max_elapsed_seconds: float | None = None
    statuses: frozenset[int] = DEFAULT_RETRYABLE_STATUSES


@dataclass(frozen=True, slots=True)
class Rate:
    """The highest rate of calls to a callback.

    Attributes:
        per_second: attempts per second, on average.
        burst: how many attempts may begin at once after an idle time.
    """

    per_second: float
    burst: int = 1


@dataclass(frozen=True, slots=True)
class Handshake:
    """How a receiver is asked for permission to deliver (http/handshake.py).

    Attributes:
        origin: the DNS name of the sender that requests permission.
        rate_per_minute: the requested rate; None: no rate is requested.
    """

    origin: str
    rate_per_minute: int | None = None


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Which failures stop a subscription although there is a dead-letter topic.

    Source: docs/design.md, Outcomes and decisions.
    """

    on_server_error: bool = True
    on_exception: bool = True
    on_gone: bool = False


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """The timeouts of the entrypoint's `http` options, in seconds."""

    connect_timeout_seconds: float = 3.0
    read_timeout_seconds: float = 10.0
    idle_timeout_seconds: float = 60.0


class DesiredStatus(StrEnum):
    """The desired state of a subscription, as publisher and consumer have set it."""

    DELIVER = "deliver"
    PAUSED = "paused"  # by the publisher
    STOPPED = "stopped"  # by the consumer
    CLOSED = "closed"  # by the publisher


@dataclass(frozen=True, slots=True)
class Skip:
    """`resumeFrom`: skip one event, if it is the next one of its partition. No topic means the only source topic."""

    partition: int
    offset: int
    topic: str | None = None


@dataclass(frozen=True, slots=True)
class ReplayOffset:
    """`resumeFrom`: continue from an offset of one partition.

    Waiting events are skipped only with *discards*. Without a topic, the only source topic is meant.
    """

    partition: int
    offset: int
    discards: bool = False
    topic: str | None = None


@dataclass(frozen=True, slots=True)
class ReplayTimestamp:
    """`resumeFrom`: continue from a time, in every partition where the subscription has events."""

    timestamp_ms: int
    discards: bool = False


ResumeFrom = Skip | ReplayOffset | ReplayTimestamp


@dataclass(frozen=True, slots=True)
class Command:
    """A command, and the revision that gave it."""

    revision: int
    resume_from: ResumeFrom


@dataclass(frozen=True, slots=True)
class Header:
    """A header that the subscription adds to each call."""

    name: str
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class NoAuth:
    """`auth.type: none`."""


@dataclass(frozen=True, slots=True)
class BasicAuth:
    """`auth.type: basic` (RFC 7617)."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TokenAuth:
    """`auth.type: token`: a bearer token that another system issued (RFC 6750)."""

    value: str = field(repr=False)


ClientAuthMethod = Literal["client_secret_post", "client_secret_basic"]
"""How a client sends its secret to the token endpoint: in the form or by HTTP Basic (RFC 6749 section 2.3.1, with the
names of RFC 7591 section 2)."""


@dataclass(frozen=True, slots=True)
class OAuth2Auth:
    """`auth.type: oauth2`: client credentials (RFC 6749 section 4.4)."""

    endpoint: str = field(repr=False)
    client_id: str
    client_secret: str = field(repr=False)
    scopes: tuple[str, ...] = ()
    client_auth_method: ClientAuthMethod = "client_secret_post"


AssertionAlgorithm = Literal["RS256", "HS256", "HS384", "HS512"]
"""How a client assertion is signed (RFC 7518 section 3.1)."""


@dataclass(frozen=True, slots=True)
class JwtProfileAuth:
    """`auth.type: jwtProfileOauth2`: client credentials as a signed assertion (RFC 7523 section 2.2).

    Attributes:
        endpoint: the token endpoint.
        lifetime_seconds: the time from `iat` to `exp` of an assertion.
        key: the HMAC secret; for RS256 the private key in PEM.
        key_id: `kid`.
        jwt_id: `jti`; None for a new one in each assertion.
        certificates: `x5c`, DER in base64, leaf first.
        claims: additional claims, name and value.
    """

    endpoint: str = field(repr=False)
    issuer: str
    subject: str
    audience: str = field(repr=False)
    key: bytes = field(repr=False)
    algorithm: AssertionAlgorithm = "RS256"
    lifetime_seconds: int = 30
    key_id: str | None = None
    jwt_id: str | None = None
    certificates: tuple[str, ...] = ()
    claims: tuple[tuple[str, str], ...] = ()
    scopes: tuple[str, ...] = ()


ClientAuth = OAuth2Auth | JwtProfileAuth
"""The credentials with which a client gets access tokens."""

Auth = NoAuth | BasicAuth | TokenAuth | ClientAuth


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy for callbacks and token endpoints.

    Attributes:
        url: the URL, with the scheme http, https or a SOCKS version (http/socks.VERSIONS). The proxy resolves names.
    """

    url: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """How the receiver's certificate is verified, and which certificate the client presents."""

    verify_hostname: bool = True
    trust_all: bool = False
    trusted_pem: str | None = None
    client_certificate_pem: str | None = None
    client_key_pem: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Start:
    """Where a subscription begins in one source topic.

    Attributes:
        offsets: by partition, the offset from which the subscription gets events. In partitions that were added later,
            the subscription begins at 0.
        topic_id: the id of the topic with these offsets; None if the broker had no topic ids. In a recreated topic,
            the subscription begins at 0.
    """

    offsets: Sequence[int]
    topic_id: str | None = None


@dataclass(frozen=True, slots=True)
class Subscription:
    """One subscription as the delivery path uses it: checked, decrypted, with the entrypoint's defaults filled in.

    Created once per revision (subscriptions/) and shared by all its lanes. Nothing here is parsed per event.

    Attributes:
        revision: the offset of its record in `<app>.subscriptions`.
        concurrency: requests in flight at a time; 1 for the ordered levels.
        created: the revision of its first record. A subscription that is deleted and created again counts as a new one.
        starts: where the subscription begins, by source topic. None: it was written for `routing: key`, and begins at
            the committed offset.
        topics: the source topics whose events the subscription gets; None for all of them.
        metadata: the owner's notes about it, without influence on deliveries.
        probes: when a FAILURE is probed (probing.py); None if it waits for an operator.
        resume_from: the command of this revision.
        earlier: the commands of earlier revisions, oldest first, which some owners may not have carried out yet.
        problem: why its record can't be used, a sentence. Its lanes are then in FAILURE.
    """

    id: str
    revision: int
    url: str = field(repr=False)
    qos: Qos = Qos.AUTO
    headers: tuple[Header, ...] = ()
    auth: Auth = NoAuth()
    tls: TlsOptions = TlsOptions()
    proxy: Proxy | None = None
    use_system_proxy: bool = False
    retry: RetryPolicy = RetryPolicy()
    rate: Rate | None = None
    filter: Filter | None = None
    handshake: Handshake | None = None
    interrupt: Interrupt = Interrupt()
    probes: RetryPolicy | None = None
    http: HttpLimits = HttpLimits()
    concurrency: int = 1
    created: int = -1
    starts: Mapping[str, Start] | None = None
    topics: frozenset[str] | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    signing_secrets: tuple[str, ...] = field(default=(), repr=False)
    desired_status: DesiredStatus = DesiredStatus.DELIVER
    starting_at: float | None = None
    ending_at: float | None = None
    resume_from: ResumeFrom | None = None
    earlier: tuple[Command, ...] = ()
    problem: str | None = None

    @property
    def commands(self) -> tuple[Command, ...]:
        """All commands, oldest first."""
        own = () if self.resume_from is None else (Command(self.revision, self.resume_from),)
        return (*self.earlier, *own)

    def start_in(self, topic: str, partition: int, topic_id: str | None) -> int | None:
        """The offset of a partition from which the subscription gets events; None if it begins at the committed offset.

        Args:
            topic: a source topic.
            partition: the number of a partition of that topic.
            topic_id: the current id of the topic; None if unknown.
        """
        if self.starts is None:
            return None
        start = self.starts.get(topic)
        if start is None:
            return None  # the topic was not a source when the subscription was created
        if None not in {topic_id, start.topic_id} and start.topic_id != topic_id:
            return 0
        return start.offsets[partition] if partition < len(start.offsets) else 0

    def status_at(self, now: float) -> Status:
        """The status that the subscription should have at a time (Unix seconds)."""
        if self.problem is not None:
            return Status.FAILURE
        if self.ending_at is not None and now >= self.ending_at:
            return Status.CLOSED
        if self.desired_status is not DesiredStatus.DELIVER:
            return Status(self.desired_status.value)
        waits = self.starting_at is not None and now < self.starting_at
        return Status.PAUSED if waits else Status.STARTED
