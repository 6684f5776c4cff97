"""Faust's consumer thread, which a missing right or another refusal of the group does not bring to a halt.

aiokafka keeps what the group's coordinator refuses (a join without the right to it, say) until somebody asks its
consumer for records, and does nothing for the group before. Faust asks the fetcher, past the consumer: so the worker
would hang without a word, and for good. And what Faust does not know it takes for a fault of its own and ends.

Here such an error is taken from aiokafka, logged, and the group is joined again, once a second for as long as it takes.
A fetch or a commit that is not allowed is tried again with the next one. Which right is missing, rights.py finds out.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import CommitFailedError, GroupAuthorizationFailedError, KafkaError, TopicAuthorizationFailedError
from faust.transport.drivers import aiokafka as driver

from pipeline.kafka.internals import coordinator_of, has_ended, has_error
from pipeline.observability.instruments import LineLimit

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0
FETCH_PAUSE_SECONDS: Final = 0.5
REFUSALS: Final = (GroupAuthorizationFailedError, TopicAuthorizationFailedError)


async def take_up_errors(coordinator: GroupCoordinator, lines: LineLimit) -> None:
    """Run until cancelled, or until the coordinator has ended: take its errors, and have the group joined again."""
    while not has_ended(coordinator):
        try:
            if has_error(coordinator):
                coordinator.check_errors()
        except KafkaError as error:
            if lines.passes(str(error)) is not None:
                logger.warning("the group %s does not take this worker: %s", coordinator.group_id, error)
            # Also for the heartbeat: it has ended, and begins again after a join alone.
            coordinator.request_rejoin()
        await asyncio.sleep(LOOK_SECONDS)


class PermittedConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread, with the overrides that this takes."""

    _taking_up: "asyncio.Task[None] | None" = None
    _refusals: LineLimit

    async def on_start(self) -> None:
        """Start, and look after the group from then on; in the thread's own loop."""
        self._refusals = LineLimit()
        await super().on_start()
        if self._consumer is None:
            return
        self._consumer.commit = partial(self._commit_if_allowed, self._consumer.commit)
        coordinator = coordinator_of(self._consumer)
        if isinstance(coordinator, GroupCoordinator):
            self._taking_up = asyncio.create_task(take_up_errors(coordinator, self._refusals))

    async def on_thread_stop(self) -> None:
        """End that first: a group that is being left is not joined again."""
        if self._taking_up is not None:
            self._taking_up.cancel()
        await super().on_thread_stop()

    async def _fetch_records(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return await super()._fetch_records(*args, **kwargs)
        except REFUSALS as error:  # that of the group comes here, too, where a fetch was under way
            self._say_refused("records are not fetched", error)
            await asyncio.sleep(FETCH_PAUSE_SECONDS)
            return {}

    async def _commit_if_allowed(self, commit: Callable[[Any], Awaitable[None]], offsets: Any) -> None:
        """Commit. Of the reasons for which it may fail, this is the one that Faust takes for no fault of its own."""
        try:
            await commit(offsets)
        except REFUSALS as error:
            self._say_refused("offsets are not committed", error)
            raise CommitFailedError("not allowed, as if the group had already rebalanced") from error

    def _say_refused(self, what: str, error: KafkaError) -> None:
        if self._refusals.passes((what, str(error))) is not None:
            logger.warning("%s: %s", what, error)
