"""Ends a Kafka producer within a bounded time, whether its broker is there or not.

aiokafka's `stop` waits until what is under way has been confirmed; with the broker gone it waits for ever, and a worker
that was told to stop would with it.
"""

import asyncio
import logging
from typing import Final, Protocol

logger = logging.getLogger(__name__)

STOP_SECONDS: Final = 5.0


class Connections(Protocol):
    """The sockets of a producer."""

    async def close(self) -> None:
        """Close them."""
        ...


class Producer(Protocol):
    """What is needed of aiokafka's producer."""

    @property
    def client(self) -> Connections:
        """Its sockets."""
        ...

    async def stop(self) -> None:
        """Send what waits, then disconnect."""
        ...


async def disconnect(producer: Producer, seconds: float = STOP_SECONDS) -> None:
    """Stop *producer*; what is not confirmed after so many seconds stays unconfirmed."""
    try:
        await asyncio.wait_for(producer.stop(), seconds)
    except TimeoutError:
        logger.warning("a producer is ended although its broker does not answer")
    finally:
        # What `stop` does last, and does not come to when it is cut off.
        await producer.client.close()
