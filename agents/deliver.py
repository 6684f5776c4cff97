"""The agent of the source topic: one stream event is one fetched batch of one partition (pipeline/runtime/consumer.py).

It awaits only the stream and never raises: it hands each batch over and takes the next one.
"""

from collections.abc import AsyncIterator, Sequence
from typing import cast

from faust.types import AgentT, StreamT

from pipeline.core.model import Event
from pipeline.runtime.consumer import DeliveryApp


def attach(app: DeliveryApp) -> AgentT[bytes]:
    """Register the agent for the application's source topic."""
    dispatcher = app.seat.dispatcher
    source = app.topic(
        dispatcher.topic,
        key_type=bytes,
        value_type=bytes,
        key_serializer="raw",
        value_serializer="raw",
        # Faust does not track acknowledgements of this topic; the windows say what may be committed.
        acks=False,
    )

    @app.agent(source, name="deliver")
    async def deliver(batches: StreamT[bytes]) -> AsyncIterator[object]:
        """Hand each batch of the source topic to the lanes of its subscriptions."""
        async for batch in batches.events():
            message = batch.message
            if message.generation_id == app.consumer_generation_id:
                dispatcher.dispatch(message.partition, cast("Sequence[Event]", batch.value))
            yield None

    return deliver
