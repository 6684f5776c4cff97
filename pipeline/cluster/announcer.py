"""Writes a worker's announcements to `<app>.workers`. A failure here delays no delivery."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from pipeline.cluster.announcement import Announcement, encode
from pipeline.core.clock import Clock
from pipeline.core.errors import BrokerError
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.internals import disconnect, started

logger = logging.getLogger(__name__)

ANNOUNCE_SECONDS: Final = 2.0
LONGEST_PAUSE_SECONDS: Final = 30.0
"""The longest pause after an error that only an operator can end, such as a missing topic."""
REQUEST_TIMEOUT_MS: Final = 5_000
GOODBYE_SECONDS: Final = 2.0


class Announcer:
    """Announces one worker.

    Args:
        topic: `<app>.workers`.
        announcement: returns the current announcement.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        topic: str,
        announcement: Callable[[], Announcement],
        clock: Clock,
    ) -> None:
        self._connection = connection
        self._topic = topic
        self._announcement = announcement
        self._clock = clock
        self._producer: AIOKafkaProducer | None = None
        self._name: str | None = None
        self._problem: str | None = None

    async def run(self) -> None:
        """Announce the worker until cancelled."""
        pause = ANNOUNCE_SECONDS
        while True:
            try:
                await self._announce()
            except (KafkaError, OSError) as error:
                # When the brokers answer again, a worker that waits for long would be shown as gone.
                self._note(str(error) or type(error).__name__)
                pause = ANNOUNCE_SECONDS
            except BrokerError as error:
                self._note(str(error))
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            except Exception:  # an error here must not end the worker
                logger.exception("topic %s: the worker could not be announced", self._topic)
                pause = LONGEST_PAUSE_SECONDS
            else:
                self._note(None)
                pause = ANNOUNCE_SECONDS
            await self._clock.sleep(pause)

    async def close(self) -> None:
        """Announce that the worker has stopped, so that the view does not show it as gone."""
        try:
            if self._producer is not None and self._name is not None and self._problem is None:
                async with asyncio.timeout(GOODBYE_SECONDS):
                    await self._producer.send_and_wait(self._topic, None, self._name.encode())
        except (KafkaError, OSError, TimeoutError) as error:
            logger.info("topic %s: could not announce that this worker has stopped: %r", self._topic, error)
        finally:
            await self._disconnect()

    async def _announce(self) -> None:
        producer = await self._connected()
        said = self._announcement()
        self._name = said.worker
        await producer.send_and_wait(self._topic, encode(said), said.worker.encode())

    async def _connected(self) -> AIOKafkaProducer:
        if self._producer is not None:
            return self._producer
        self._producer = producer = AIOKafkaProducer(
            acks=1,  # the next announcement comes in two seconds
            compression_type=None if self._connection.embedded else "gzip",
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            **self._connection.client_options(),
        )
        try:
            await started(producer)
            topics = (await producer.client.fetch_all_metadata()).topics()  # this request does not create the topic
        except BaseException:
            await self._disconnect()
            raise
        if self._topic not in topics:
            await self._disconnect()
            raise BrokerError("does not exist, or this user may not see it")
        return producer

    async def _disconnect(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await disconnect(producer)

    def _note(self, problem: str | None) -> None:
        if problem is not None and problem != self._problem:
            logger.warning(
                "topic %s: %s; this worker delivers events, but other workers can't show its state",
                self._topic,
                problem,
            )
        elif problem is None and self._problem is not None:
            logger.info("topic %s: this worker is announced again", self._topic)
        self._problem = problem
