"""Ends a Kafka client within a bounded time, whether its broker is there or not.

aiokafka's producer waits at its end until what is under way has been confirmed: with the broker gone for ever, and a
worker that was told to stop would with it. Its consumer lets the cancellation of a fetch out that has just failed, and
whoever stops it would take that for a cancellation of its own.
"""

import asyncio
import logging
from typing import Any, Final

from pipeline.core.errors import BrokerError

logger = logging.getLogger(__name__)

STOP_SECONDS: Final = 3.0
CANCEL_SECONDS: Final = 0.2


async def disconnect(client: Any, seconds: float = STOP_SECONDS) -> None:
    """Stop an aiokafka producer or consumer; what is not confirmed after so many seconds stays unconfirmed."""
    stopping = asyncio.ensure_future(client.stop())
    try:
        await asyncio.wait([stopping], timeout=seconds)
    finally:
        if stopping.cancel():
            logger.warning("a client of Kafka is ended although its broker does not answer")
        elif not stopping.cancelled() and stopping.exception() is not None:
            logger.warning("a client of Kafka has ended badly: %r", stopping.exception())
        # What follows is what `stop` does last, and does not come to when it is cut off or fails.
        if hasattr(client, "_sender"):
            await _end_sender(client)
        connections = client.client if hasattr(client, "client") else client._client  # noqa: SLF001 - a consumer hides it
        await connections.close()


async def _end_sender(producer: Any) -> None:
    sender = producer._sender and producer._sender.sender_task  # noqa: SLF001 - it has no other end than a confirmation
    if sender is None or sender.done():
        return
    producer._message_accumulator.fail_all(BrokerError("the broker did not answer in time"))  # noqa: SLF001 - likewise
    while not sender.done():
        sender.cancel()  # and with each turn one of the requests that it waits for
        await asyncio.wait([sender], timeout=CANCEL_SECONDS)
