"""The composition root: the only module that depends on all parts.

create_app(settings, definition)
    Engine        starts and stops parts (transport, registry, log readers, ...) and runs tasks (checkpoints, ...)
    Sources       a dispatcher per source topic: partitions, lanes, windows
    DeliveryApp   Faust: group membership, the agent, the token table, the web view, the command line
"""

import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any, Final, cast

import faust

import agents
from pipeline.auth.authorization import Authorized
from pipeline.auth.token_cache import TokenCache
from pipeline.auth.token_endpoint import ClientCredentials
from pipeline.auth.token_request import PostForm
from pipeline.auth.token_store import StoredTokens
from pipeline.cluster.announcer import Announcer
from pipeline.cluster.attempt_log import attempt_log_of
from pipeline.cluster.attempt_search import AttemptSearch
from pipeline.cluster.audit import AuditLog
from pipeline.cluster.notification_outlets import outlets_of
from pipeline.cluster.notifications import Notifier
from pipeline.cluster.own_state import OwnState
from pipeline.cluster.retention_watch import RetentionWatch, retention_ms
from pipeline.cluster.view import ClusterView
from pipeline.config.definition import Definition
from pipeline.config.settings import Settings, otel_environment
from pipeline.core.addressed import AddressedMatching, is_addressed
from pipeline.core.clock import Clock, SystemClock
from pipeline.core.concurrency import ConcurrencyLimits, Slots
from pipeline.core.delivery import Delivery, never_addressed
from pipeline.core.dispatcher import Dispatcher
from pipeline.core.lease import MARGIN_SECONDS, Lease
from pipeline.core.matching import SubscriptionIndex
from pipeline.core.ports import LaneLimits
from pipeline.core.queue_memory import QueueMemory
from pipeline.core.rate_limit import RateLimits
from pipeline.core.sources import Sources, TopicPartition, by_topic
from pipeline.core.subscription import Routing, Subscription
from pipeline.core.webhook_ids import WebhookIds
from pipeline.http.handshake import Permitted
from pipeline.http.own_names import own_names
from pipeline.http.proxy import SystemProxies
from pipeline.http.resolver import Resolver
from pipeline.http.ssrf_guard import Guard
from pipeline.http.transport import Transport
from pipeline.http.webhook import Callback
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.cursors import KafkaRows
from pipeline.kafka.dead_letters import KafkaDeadLetterWriter
from pipeline.kafka.default_partition import default_partition
from pipeline.kafka.expansion import PartitionExpansion
from pipeline.kafka.log_reader import LogReader
from pipeline.kafka.source_log import SourceLog
from pipeline.kafka.topic_rows import RowStores
from pipeline.kafka.topics import (
    audit_topic,
    cursors_topic,
    subscriptions_topic,
    tokens_topic,
    workers_topic,
)
from pipeline.observability.logs import logging_config
from pipeline.observability.reporter import WorkerReporter
from pipeline.observability.telemetry import Telemetry
from pipeline.observability.tracing import TracedSend, spans_of
from pipeline.observability.unmatched import UnmatchedEvents
from pipeline.runtime.application import DeliveryApp
from pipeline.runtime.assignor import LevelAssignor
from pipeline.runtime.consumer_thread import Parts
from pipeline.runtime.engine import Engine, Part
from pipeline.runtime.log_check import LogCheck
from pipeline.runtime.log_checks import LogChecks
from pipeline.runtime.membership import Membership
from pipeline.runtime.rights import Right, missing_rights
from pipeline.runtime.rights_watch import RightsWatch
from pipeline.runtime.token_table import add_token_table
from pipeline.subscriptions.advisories import advisory
from pipeline.subscriptions.registry import Registry
from pipeline.subscriptions.secrets import SecretBox
from pipeline.subscriptions.store import SubscriptionStore
from pipeline.web.access import Access, configured_access
from pipeline.web.api import attach_api
from pipeline.web.pages import PageSources, attach_pages
from pipeline.web.server import BUILT_IN_PAGES_OFF, attach_web, web_options

logger = logging.getLogger(__name__)

HEARTBEATS: Final = 3
"""The number of heartbeats in a session timeout, so that a worker keeps its lease even if one heartbeat is late."""
LONGEST_HEARTBEAT_SECONDS: Final = 3.0
"""The longest time between two heartbeats, and so the longest time until a worker notices a rebalance."""
FETCH_BYTES: Final = 1024 * 1024
FETCH_EVENTS: Final = 1000
"""The number of events in one batch.

A small batch does not block the event loop, or fill lanes before the stream can pause.
"""
NEVER_SECONDS: Final = 86_400.0


def create_app(
    settings: Settings, definition: Definition, former_topics: Mapping[TopicPartition, str] | None = None
) -> DeliveryApp:
    """Make the application of a worker. It connects to nothing until it is started.

    Call this without a running event loop, because Faust reads entry points from the disk. *former_topics* is passed to
    `LogCheck`.

    Raises:
        ConfigurationError: the file of ADMIN_JWKS can't be used, or no routing is configured.
    """
    connection = definition.source.connection
    clock = SystemClock()
    secret_keys = [key.get_secret_value() for key in settings.secret_keys]
    ids = settings.webhook_ids
    spans = spans_of(otel_environment(), settings.app, ids)
    telemetry = Telemetry(ids) if spans is None else Telemetry(ids, spans_dropped=lambda: spans.dropped)
    attempt_log, recorder = attempt_log_of(settings, definition, telemetry, clock)
    rights = RightsWatch()
    unmatched = UnmatchedEvents(definition.source.topics, telemetry, definition.routing)
    access = configured_access(settings)
    app = _faust_app(settings, definition, access)
    box = SecretBox(secret_keys)

    registry = Registry(connection, subscriptions_topic(settings.app), box, definition, clock=clock)
    guard = Guard(settings.allow_private_networks, own_names())
    store = SubscriptionStore(
        registry, connection, subscriptions_topic(settings.app), box, definition, clock=clock, guard=guard
    )
    audit = AuditLog(connection, audit_topic(settings.app), clock)
    transport = _transport(settings, definition, guard)
    matches = definition.routing is Routing.MATCH
    rate_limits = RateLimits(app.share if matches else app.share_by_key)
    lease = Lease(settings.session_seconds - MARGIN_SECONDS)
    permitted = Permitted(_callback(transport, clock, telemetry, ids, lease.check), rate_limits.allow, clock)
    outlets = outlets_of(
        settings, connection, _callback(transport, clock, telemetry), telemetry.notification_dropped, clock
    )
    notifier = Notifier(
        recorder,
        outlets.put,
        clock=clock,
        dead_letter_failed=telemetry.dead_letter_failed,
        monotonic=time.monotonic,
    )
    tokens = _tokens(app, transport, box, clock=clock, telemetry=telemetry)
    dead_letters = _dead_letters(definition, notifier, ids)
    topics, former = definition.source.topics, by_topic(former_topics or {})
    log_readers = {topic: LogReader(connection, topic, definition.source.isolation_level) for topic in topics}
    log_checks = LogChecks(
        {topic: LogCheck(topic, SourceLog(connection, topic), notifier, former[topic]) for topic in topics}
    )
    matching = AddressedMatching(SubscriptionIndex(), ids, log_checks.topic_id) if matches else None
    send = Authorized(permitted, tokens)
    deliver = Delivery(
        send=send if spans is None else TracedSend(send, spans),
        dead_letters=dead_letters,
        caught_up=registry.caught_up,
        slots=Slots(settings.max_in_flight),
        lease=lease,
        clock=clock,
        observer=notifier,
        rate_limits=rate_limits,
        chance=random.random,
        steady=time.monotonic,
        concurrency_limits=ConcurrencyLimits() if matches or definition.source.others else None,
        is_addressed=is_addressed if matches else never_addressed,
    )
    memory = QueueMemory(settings.worker_bytes)
    row_stores = RowStores(
        topics, partial(KafkaRows, connection, cursors_topic(settings.app), on_written=telemetry.rows_written)
    )
    sources = Sources(
        [
            Dispatcher(
                topic,
                deliver=deliver,
                rows_of=partial(row_stores.rows_of, topic),
                registry=registry,
                reader=log_readers[topic],
                limits=LaneLimits(
                    settings.lane_events, settings.lane_bytes, settings.hold_seconds, claim_events=settings.claim_events
                ),
                memory=memory,
                on_closed=tokens.release,
                matching=matching,
            )
            for topic in topics
        ],
        matching,
    )
    app.use(Parts(sources, log_checks, lease, definition.source.isolation_level, settings.drain_seconds))
    reporter = WorkerReporter(
        settings.app,
        sources,
        readiness=partial(_readiness, app, registry),
        missing_rights=lambda: rights.problem,
        stopping=lambda: "the worker is stopping: it drains its partitions" if app.should_stop else None,
        warnings=lambda: [*filter(None, [unmatched.warning]), *telemetry.warnings()],
        end_of=app.end_of,
        name=lambda: f"{app.conf.web_host}:{app.conf.web_port}",
        known=registry,
        partition_counts=app.partition_counts,
        default_partition=default_partition,
        warning_of=lambda subscription: advisory(subscription, clock.now()),
    )
    view = ClusterView(settings.app, definition.source, definition.routing, registry, clock)
    announcer = _announcer(app, connection, reporter, telemetry, clock)
    expansion = _expansion(app, settings, definition, clock)
    parts = [
        *([] if attempt_log is None else [Part(attempt_log.close, attempt_log.start)]),
        *([] if spans is None else [Part(spans.close, spans.start)]),
        Part(transport.close, transport.start),
        Part(outlets.close),
        Part(permitted.close),
        *([] if dead_letters is None else [Part(dead_letters.close)]),
        Part(tokens.close),
        Part(
            registry.stop, partial(registry.start, partial(_subscription_changed, (sources, view, notifier, telemetry)))
        ),
        Part(store.close),
        Part(audit.close),
        Part(view.stop, view.start),
        Part(announcer.close),
        *(Part(reader.close, reader.start) for reader in log_readers.values()),
    ]
    tasks: list[Callable[[], Awaitable[None]]] = [
        *(dispatcher.keep_checkpoints for dispatcher in sources),
        *([] if expansion is None else [expansion.watch]),
        partial(rights.watch, partial(_missing_rights, settings, definition, sources), clock),
        unmatched.watch,
        outlets.run,
        RetentionWatch(sources, partial(retention_ms, connection), notifier.tell, clock).run,
        announcer.run,
        Membership(sources.fenced, app).watch,
        tokens.keep_sweeping,
    ]
    app.add_dependency(Engine(parts, tasks))
    # Faust's type of a signal allows any sender. Here the sender is the application.
    app.on_rebalance_complete.connect(cast("Any", _open_partitions), weak=False)
    agents.attach(app)
    attach_web(app, reporter=reporter, telemetry=telemetry, access=access, counted=view.counted)
    attach_api(app, settings, definition, registry=registry, store=store, view=view, audit=audit, access=access)
    attempts = AttemptSearch(definition, settings.app, registry, ids)
    shown = PageSources(
        settings.app, lambda: reporter.worker().name, definition, view, registry, telemetry, ids, clock, attempts
    )
    attach_pages(app, shown, access)
    return app


def _faust_app(settings: Settings, definition: Definition, access: Access) -> DeliveryApp:
    connection = definition.source.connection
    return DeliveryApp(
        settings.app,
        broker=connection.faust_broker(),
        broker_credentials=connection.faust_credentials(),
        broker_check_crcs=not connection.embedded,
        key_serializer="raw",
        value_serializer="raw",
        store="memory://",
        datadir=settings.data_dir,
        # The drain in runtime/consumer.py has a time limit; Faust's wait for acknowledgements has none.
        stream_wait_empty=False,
        # The agent empties the buffer at once. The limits that take effect are those of windows and lanes.
        stream_buffer_maxsize=32_768,
        # Only for the topics that Faust tracks. runtime/consumer.py commits the source topics.
        broker_commit_interval=1.0,
        # Faust's watchdogs ignore lanes. /health/live replaces them.
        broker_commit_livelock_soft_timeout=NEVER_SECONDS,
        stream_processing_timeout=NEVER_SECONDS,
        broker_max_poll_interval=NEVER_SECONDS,
        broker_max_poll_records=FETCH_EVENTS,
        broker_session_timeout=settings.session_seconds,
        consumer_group_instance_id=settings.instance_id,
        # A worker that comes back gets its former assignment, which contains an address. Faust fails if that address
        # has changed, so the address must not depend on host and port.
        canonical_url=None if settings.instance_id is None else f"http://{settings.instance_id}/",
        broker_heartbeat_interval=min(settings.session_seconds / HEARTBEATS, LONGEST_HEARTBEAT_SECONDS),
        broker_request_timeout=40.0,
        broker_rebalance_timeout=60.0,
        # The definition's autoOffsetReset applies to the first start only (runtime/initial_offsets.py). After that, a
        # partition without a committed offset is new, and runtime/log_check.py handles offsets that are not in the log.
        consumer_auto_offset_reset="none",
        consumer_max_fetch_size=FETCH_BYTES,
        producer_request_timeout=30.0,
        PartitionAssignor=LevelAssignor,
        table_standby_replicas=0,
        topic_disable_leader=True,
        # runtime/topics.py checks and creates topics with the right cleanup policies.
        topic_allow_declare=False,
        web_bind=settings.web_bind,
        web_port=settings.web_port,
        web_application_options=web_options(access),
        **BUILT_IN_PAGES_OFF,
        logging_config=logging_config(settings.log_format, settings.log_level),
        worker_redirect_stdouts=False,
    )


def _transport(settings: Settings, definition: Definition, guard: Guard) -> Transport:
    return Transport(
        guard=guard,
        max_in_flight=settings.max_in_flight,
        idle_timeout_seconds=definition.http.idle_timeout_seconds,
        system_proxies=SystemProxies.from_environment(),
        resolver=partial(Resolver, settings.name_servers),
    )


def _user_agent() -> str:
    return f"webhook-pipeline/{version('webhook-pipeline')}"


def _callback(
    transport: Transport,
    clock: Clock,
    telemetry: Telemetry,
    ids: WebhookIds | None = None,
    check: Callable[[], None] | None = None,
) -> Callback:
    return Callback(
        transport,
        clock,
        user_agent=_user_agent(),
        on_header_left_out=telemetry.header_left_out,
        ids=ids,
        check=check,
    )


def _tokens(app: faust.App, transport: Transport, box: SecretBox, *, clock: Clock, telemetry: Telemetry) -> TokenCache:
    fetch = ClientCredentials(PostForm(transport, _user_agent()), clock)
    return TokenCache(fetch, StoredTokens(add_token_table(app), box), clock, telemetry)


def _dead_letters(definition: Definition, notifier: Notifier, ids: WebhookIds) -> KafkaDeadLetterWriter | None:
    dlq = definition.dlq
    if dlq is None:
        return None
    return KafkaDeadLetterWriter(dlq.connection, dlq.topic, notifier.dead_letter_failed, ids)


def _expansion(app: DeliveryApp, settings: Settings, definition: Definition, clock: Clock) -> PartitionExpansion | None:
    source = definition.source
    if source.connection.embedded:
        return None
    return PartitionExpansion(
        source.connection, source.topics, (cursors_topic(settings.app), tokens_topic(settings.app)), app, clock
    )


def _announcer(
    app: DeliveryApp, connection: KafkaConnection, reporter: WorkerReporter, telemetry: Telemetry, clock: Clock
) -> Announcer:
    sources, counts = app.parts.sources, app.partition_counts
    own = OwnState(version("webhook-pipeline"), reporter, sources, telemetry, clock=clock, counts=counts)
    return Announcer(connection, workers_topic(app.conf.name), own.announcement, clock)


async def _open_partitions(app: DeliveryApp, **_: Any) -> None:
    """Open the partitions after an assignment. Faust has recovered its tables, but not yet resumed the stream."""
    await app.delivery_consumer.open_partitions()


def _subscription_changed(
    followers: Iterable[Sources | ClusterView | Notifier | Telemetry], name: str, subscription: Subscription | None
) -> None:
    for each in followers:
        each.on_subscription(name, subscription)
    if subscription is not None and (warning := advisory(subscription, SystemClock().now())) is not None:
        logger.warning("subscription %s: %s", name, warning)


async def _missing_rights(settings: Settings, definition: Definition, sources: Sources) -> Sequence[Right]:
    rights = await missing_rights(definition, settings.app, sorted(sources.assigned))
    return rights.needed


def _readiness(app: DeliveryApp, registry: Registry) -> str | None:
    if not registry.is_current:
        return f"the subscriptions have not been read: {registry.last_error or 'the worker is still reading them'}"
    if app.rebalancing:
        return "the group is rebalancing"
    if not app.parts.sources.has_opened:
        return "no partitions have been assigned yet"
    return None
