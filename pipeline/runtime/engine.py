"""Starts the parts of a worker that Faust does not start.

They run before partitions are assigned, and stop at the end.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

from mode import Service

from pipeline.auth.token_cache import TokenCache
from pipeline.cluster.announcer import Announcer
from pipeline.cluster.attempt_log import AttemptLog
from pipeline.cluster.audit import AuditLog
from pipeline.cluster.notification_outlets import Outlets
from pipeline.cluster.retention_watch import RetentionWatch
from pipeline.cluster.view import ClusterView
from pipeline.core.errors import BrokerError
from pipeline.core.sources import Sources
from pipeline.http.handshake import Permitted
from pipeline.http.transport import Transport
from pipeline.kafka.dead_letters import KafkaDeadLetterWriter
from pipeline.kafka.expansion import PartitionExpansion
from pipeline.kafka.log_reader import LogReader
from pipeline.observability.tracing import Spans
from pipeline.observability.unmatched import LOOK_SECONDS as UNMATCHED_SECONDS
from pipeline.observability.unmatched import UnmatchedEvents
from pipeline.runtime.membership import CHECK_SECONDS, Membership
from pipeline.subscriptions.registry import OnChange, Registry
from pipeline.subscriptions.store import SubscriptionStore

TOKEN_SWEEP_SECONDS: Final = 600.0


class Engine(Service):
    """The parts of a worker that Faust does not start, as one service: the first to start, the last to stop.

    Args:
        transport: the HTTP client.
        permitted: asks receivers for permission (http/handshake.py).
        store: changes subscriptions; connects with the first change through the API.
        audit: records changes of subscriptions.
        on_change: called for every change of a subscription.
        log_readers: read the source topics again for lanes that are behind.
        tokens: the access tokens of the worker.
        dead_letters: writes dead letters; None without a dead-letter topic.
        attempt_log: the attempt log; None if attempts are not logged.
        spans: exports traces; None if they are off.
        outlets: send notifications.
        retention_watch: finds events that are about to be deleted.
        sources: the dispatchers of the source topics, whose checkpoints run here.
        expansion: watches the source topics for new partitions; None if topics can't gain partitions.
        membership: rejoins the group after a fencing.
        unmatched: watches for events without a subscription.
        view: the state of the whole cluster.
        announcer: announces this worker to the others.
        watch_rights: runs for as long as the worker does (rights_watch.py).
    """

    def __init__(
        self,
        *,
        transport: Transport,
        permitted: Permitted,
        registry: Registry,
        store: SubscriptionStore,
        audit: AuditLog,
        on_change: OnChange,
        log_readers: Sequence[LogReader],
        tokens: TokenCache,
        dead_letters: KafkaDeadLetterWriter | None,
        attempt_log: AttemptLog | None,
        spans: Spans | None,
        outlets: Outlets,
        retention_watch: RetentionWatch,
        sources: Sources,
        expansion: PartitionExpansion | None,
        membership: Membership,
        unmatched: UnmatchedEvents,
        view: ClusterView,
        announcer: Announcer,
        watch_rights: Callable[[], Awaitable[None]],
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._closing = AsyncExitStack()
        self._transport = transport
        self._permitted = permitted
        self._registry = registry
        self._store = store
        self._audit = audit
        self._on_change = on_change
        self._log_readers = log_readers
        self._tokens = tokens
        self._dead_letters = dead_letters
        self._attempt_log = attempt_log
        self._spans = spans
        self._outlets = outlets
        self._retention_watch = retention_watch
        self._sources = sources
        self._expansion = expansion
        self._membership = membership
        self._unmatched = unmatched
        self._view = view
        self._announcer = announcer
        self._run_rights_watch = watch_rights

    async def on_start(self) -> None:
        """Start everything that the first partition needs. `on_stop` stops it in reverse order."""
        closing = self._closing
        if self._attempt_log is not None:
            await self._attempt_log.start()
            closing.push_async_callback(self._attempt_log.close)
        if self._spans is not None:
            await self._spans.start()
            closing.push_async_callback(self._spans.close)
        await self._transport.start()
        closing.push_async_callback(self._transport.close)
        closing.push_async_callback(self._outlets.close)
        closing.push_async_callback(self._permitted.close)
        if self._dead_letters is not None:
            closing.push_async_callback(self._dead_letters.close)
        closing.push_async_callback(self._tokens.close)
        await self._registry.start(self._on_change)
        closing.push_async_callback(self._registry.stop)
        closing.push_async_callback(self._store.close)
        closing.push_async_callback(self._audit.close)
        await self._view.start()
        closing.push_async_callback(self._view.stop)
        closing.push_async_callback(self._announcer.close)
        for reader in self._log_readers:
            await reader.start()
            closing.push_async_callback(reader.close)

    async def on_stop(self) -> None:
        """Close everything. The partitions have been drained and closed before (`DeliveryApp.on_stop`)."""
        await self._closing.aclose()

    @Service.task
    async def _keep_checkpoints(self) -> None:
        await asyncio.gather(*(dispatcher.keep_checkpoints() for dispatcher in self._sources))

    @Service.task
    async def _watch_for_partitions(self) -> None:
        if self._expansion is not None:
            await self._expansion.watch()

    @Service.task
    async def _watch_rights(self) -> None:
        await self._run_rights_watch()

    @Service.task
    async def _watch_unmatched(self) -> None:
        async for _ in self.itertimer(UNMATCHED_SECONDS, name="unmatched"):
            self._unmatched.look()

    @Service.task
    async def _notify(self) -> None:
        await self._outlets.run()

    @Service.task
    async def _watch_retention(self) -> None:
        await self._retention_watch.run()

    @Service.task
    async def _announce(self) -> None:
        await self._announcer.run()

    @Service.task
    async def _watch_membership(self) -> None:
        async for _ in self.itertimer(CHECK_SECONDS, name="membership"):
            if not self._membership.rejoin_if_fenced():
                await self.crash(BrokerError("could not rejoin the group, although its broker answers"))

    @Service.task
    async def _keep_tokens(self) -> None:
        async for _ in self.itertimer(TOKEN_SWEEP_SECONDS, name="tokens"):
            await self._tokens.sweep()
