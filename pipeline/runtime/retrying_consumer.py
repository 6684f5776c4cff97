"""Faust's consumer thread, changed to survive a missing right or another refusal by the group.

If the group's coordinator refuses a request (for example a join without the right to join), aiokafka stores the error
and stops its work for the group until its consumer is asked for records. Faust never asks the consumer, only the
fetcher, so the worker would hang silently and indefinitely. Faust also crashes on errors that it does not know.

This thread reads the error from aiokafka, logs it and rejoins the group, once a second until that succeeds. A refused
fetch or commit needs no handling: the next fetch or commit tries again. rights.py finds out which right is missing.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import (
    CommitFailedError,
    GroupAuthorizationFailedError,
    InvalidSessionTimeoutError,
    KafkaError,
    TopicAuthorizationFailedError,
)
from faust.transport.drivers import aiokafka as driver

from pipeline.kafka.internals import coordinator_of, has_ended, has_error
from pipeline.observability.instruments import LineLimit

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0
FETCH_PAUSE_SECONDS: Final = 0.5
SESSION_REFUSED: Final = (
    "its brokers do not allow a session of WEBHOOKS_SESSION_SECONDS; allowed: from group.min.session.timeout.ms to "
    "group.max.session.timeout.ms"
)
REFUSALS: Final = (GroupAuthorizationFailedError, TopicAuthorizationFailedError)


async def rejoin_after_errors(coordinator: GroupCoordinator, lines: LineLimit) -> None:
    """Take the coordinator's errors and rejoin the group, until cancelled or until the coordinator has ended."""
    while not has_ended(coordinator):
        try:
            if has_error(coordinator):
                coordinator.check_errors()
        except KafkaError as error:
            reason = SESSION_REFUSED if isinstance(error, InvalidSessionTimeoutError) else str(error)
            if lines.passes(reason) is not None:
                logger.warning("the group %s rejects this worker: %s", coordinator.group_id, reason)
            # The heartbeats have stopped too, and begin again only after a join.
            coordinator.request_rejoin()
        await asyncio.sleep(LOOK_SECONDS)


class RetryingConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's thread with the overrides described above."""

    _rejoining: "asyncio.Task[None] | None" = None
    _refusals: LineLimit

    async def on_start(self) -> None:
        """Start, and begin taking errors; runs in the thread's own loop."""
        self._refusals = LineLimit()
        await super().on_start()
        if self._consumer is None:
            return
        self._consumer.commit = partial(self._commit_if_allowed, self._consumer.commit)
        coordinator = coordinator_of(self._consumer)
        if isinstance(coordinator, GroupCoordinator):
            self._rejoining = asyncio.create_task(rejoin_after_errors(coordinator, self._refusals))

    async def on_thread_stop(self) -> None:
        """Stop taking errors, then stop. In the other order, this thread would rejoin the group that it is leaving."""
        if self._rejoining is not None:
            self._rejoining.cancel()
        await super().on_thread_stop()

    async def _fetch_records(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return await super()._fetch_records(*args, **kwargs)
        except REFUSALS as error:  # a fetch under way also raises the group's refusal
            self._say_refused("can't fetch records", error)
            await asyncio.sleep(FETCH_PAUSE_SECONDS)
            return {}

    async def _commit_if_allowed(self, commit: Callable[[Any], Awaitable[None]], offsets: Any) -> None:
        """Commit. Refusals become a CommitFailedError, because Faust treats any other error as a bug."""
        try:
            await commit(offsets)
        except REFUSALS as error:
            self._say_refused("can't commit offsets", error)
            # Faust looks for this text: after this error, and no other, the worker continues.
            raise CommitFailedError("not allowed, as if the group had already rebalanced") from error

    def _say_refused(self, what: str, error: KafkaError) -> None:
        if self._refusals.passes((what, str(error))) is not None:
            logger.warning("%s: %s", what, error)
