"""The agent of the source topics.

Each message of its Faust stream is the result of one fetch (pipeline/runtime/consumer.py). The agent dispatches the
batch of each partition, then takes the next message. It waits only for the stream, and never raises an exception.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import cast

from faust.types import TP, AgentT, StreamT

from pipeline.core.model import Event
from pipeline.runtime.application import DeliveryApp


def attach(app: DeliveryApp) -> AgentT[bytes]:
    """Register the agent for the application's source topics."""
    sources = app.parts.sources
    topics = app.topic(
        *sources.topics,
        key_type=bytes,
        value_type=bytes,
        key_serializer="raw",
        value_serializer="raw",
        # Faust does not track acknowledgements of these topics; the windows determine the offsets to commit.
        acks=False,
    )

    @app.agent(topics, name="deliver")
    async def deliver(fetches: StreamT[bytes]) -> AsyncIterator[object]:
        """Pass each batch of a source topic to the lanes of its subscriptions."""
        async for fetch in fetches.events():
            if fetch.message.generation_id == app.consumer_generation_id:
                for tp, events in cast("Mapping[TP, Sequence[Event]]", fetch.value).items():
                    sources[tp.topic].dispatch(tp.partition, events)
            yield None

    return deliver
