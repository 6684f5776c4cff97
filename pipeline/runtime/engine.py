"""What has a lifetime beside Faust's parts: starts before partitions are assigned, ends when they are given back."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Final

from mode import Service

from pipeline.auth.token_cache import TokenCache
from pipeline.core.dispatcher import Dispatcher
from pipeline.core.errors import BrokerError
from pipeline.http.handshake import Permitted
from pipeline.http.transport import Transport
from pipeline.kafka.dead_letters import KafkaDeadLetterWriter
from pipeline.kafka.expansion import PartitionExpansion
from pipeline.kafka.log_reader import LogReader
from pipeline.observability.strays import LOOK_SECONDS as STRAYS_SECONDS
from pipeline.observability.strays import Strays
from pipeline.runtime.membership import CHECK_SECONDS, Ownership
from pipeline.subscriptions.registry import OnChange, Registry

TOKEN_SWEEP_SECONDS: Final = 600.0


class Engine(Service):
    """What has a lifetime beside Faust's own parts: first up, last down.

    Args:
        transport: the HTTP client.
        permitted: asks receivers over it.
        registry: the subscriptions.
        on_change: told of every change of one.
        log_reader: reads the source topic again for lanes that are behind.
        tokens: access tokens.
        dead_letters: None without a dead-letter topic.
        dispatcher: whose checkpoints are kept.
        expansion: watches the source topic for new partitions; None if topics can't grow.
        ownership: of the partitions.
        strays: events without a subscription.
        watch_rights: runs for as long as the worker does (allowance.py).
    """

    def __init__(
        self,
        *,
        transport: Transport,
        permitted: Permitted,
        registry: Registry,
        on_change: OnChange,
        log_reader: LogReader,
        tokens: TokenCache,
        dead_letters: KafkaDeadLetterWriter | None,
        dispatcher: Dispatcher,
        expansion: PartitionExpansion | None,
        ownership: Ownership,
        strays: Strays,
        watch_rights: Callable[[], Awaitable[None]],
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._closing = AsyncExitStack()
        self._transport = transport
        self._permitted = permitted
        self._registry = registry
        self._on_change = on_change
        self._log_reader = log_reader
        self._tokens = tokens
        self._dead_letters = dead_letters
        self._dispatcher = dispatcher
        self._expansion = expansion
        self._ownership = ownership
        self._strays = strays
        self._watch_allowance = watch_rights

    async def on_start(self) -> None:
        """Start what the first partition needs; it is closed in the opposite order."""
        closing = self._closing
        await self._transport.start()
        closing.push_async_callback(self._transport.close)
        closing.push_async_callback(self._permitted.close)
        if self._dead_letters is not None:
            closing.push_async_callback(self._dead_letters.close)
        closing.push_async_callback(self._tokens.close)
        await self._registry.start(self._on_change)
        closing.push_async_callback(self._registry.stop)
        await self._log_reader.start()
        closing.push_async_callback(self._log_reader.close)

    async def on_stop(self) -> None:
        """Close what was started. The partitions have come to rest by now (`DeliveryApp.on_stop`)."""
        await self._closing.aclose()

    @Service.task
    async def _keep_checkpoints(self) -> None:
        await self._dispatcher.keep_checkpoints()

    @Service.task
    async def _watch_for_partitions(self) -> None:
        if self._expansion is not None:
            await self._expansion.watch()

    @Service.task
    async def _watch_rights(self) -> None:
        await self._watch_allowance()

    @Service.task
    async def _watch_strays(self) -> None:
        async for _ in self.itertimer(STRAYS_SECONDS, name="strays"):
            self._strays.look()

    @Service.task
    async def _watch_ownership(self) -> None:
        async for _ in self.itertimer(CHECK_SECONDS, name="ownership"):
            if not self._ownership.settle():
                await self.crash(BrokerError("could not rejoin the group, although its broker answers"))

    @Service.task
    async def _keep_tokens(self) -> None:
        async for _ in self.itertimer(TOKEN_SWEEP_SECONDS, name="tokens"):
            await self._tokens.sweep()
