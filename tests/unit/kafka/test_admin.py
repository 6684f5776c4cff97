"""The admin client uses any available broker. A message says plainly if there is none."""

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError, NodeNotReadyError, RequestTimedOutError
from aiokafka.protocol.metadata import MetadataRequest_v5
from aiokafka.structs import BrokerMetadata

from pipeline.kafka.admin import unreachable
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.internals import AdminClient


class Client:
    """A client of three brokers, some of which are down."""

    def __init__(self, *down: int) -> None:
        self.cluster = self
        self.asked: list[int | None] = []
        self._down = down

    def brokers(self) -> set[BrokerMetadata]:
        return {BrokerMetadata(number, "127.0.0.1", number, None) for number in (1, 2, 3)}

    async def send(self, node_id: int | None, _request: Any) -> str:
        self.asked.append(node_id)
        await asyncio.sleep(0)
        if node_id in self._down:
            raise NodeNotReadyError(f"node {node_id}")
        return f"from {node_id}"


async def ask(client: Client, node_id: int | None = None) -> Any:
    admin = AdminClient()
    admin._client = client
    return await admin._send_request(MetadataRequest_v5(), node_id)


async def test_a_broker_that_is_down_is_skipped() -> None:
    for _ in range(20):
        assert await ask(Client(1, 3)) == "from 2"


async def test_brokers_that_are_all_down_are_reported() -> None:
    client = Client(1, 2, 3)
    with pytest.raises(NodeNotReadyError):
        await ask(client)
    assert sorted(client.asked, key=str) == [1, 2, 3]


async def test_only_the_broker_with_the_given_id_is_asked() -> None:
    client = Client(1)
    with pytest.raises(NodeNotReadyError):
        await ask(client, 1)
    assert client.asked == [1]


@pytest.mark.parametrize(
    "error",
    [
        KafkaConnectionError("Unable to bootstrap from [('127.0.0.1', 9092, <AddressFamily.AF_INET: 2>)]"),
        KafkaTimeoutError("Failed to get offsets by times in 10000 ms"),
        NodeNotReadyError("Attempt to send a request to node which is not ready (node id 1)."),
        RequestTimedOutError(),
        TimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_silent_cluster_is_reported_in_plain_words(error: Exception) -> None:
    assert unreachable(KafkaConnection(("a:9092", "b:9092")), error) == (
        "Kafka at a:9092,b:9092 can't be used: no broker could be reached, or none answered in time"
    )
