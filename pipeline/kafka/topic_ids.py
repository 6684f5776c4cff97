"""Looks up the id of a topic, which distinguishes a recreated topic from the deleted one (KIP-516).

aiokafka 0.14 supports Metadata up to version 5, which has only names. Version 10, since Kafka 2.8, has the ids
(https://kafka.apache.org/protocol#The_Messages_Metadata).
"""

import base64
import logging
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import IncompatibleBrokerVersion, NoError, for_code
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Schema, TaggedFields

logger = logging.getLogger(__name__)

NO_ID: Final = bytes(16)
"""Stands for a missing or unknown topic id."""


class Uuid(AbstractType[bytes]):  # type: ignore[misc]  # aiokafka has no types
    """A UUID: sixteen bytes."""

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        """Return the bytes unchanged."""
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        """Return the bytes unchanged."""
        return data.read(16)


class TopicIdsResponse(Response):  # type: ignore[misc]  # aiokafka has no types
    """Metadata response, version 10."""

    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString("utf-8")),
                ("topic_id", Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class TopicIdsRequestV10(RequestStruct):  # type: ignore[misc]  # aiokafka has no types
    """Metadata request, version 10."""

    API_KEY = 3
    API_VERSION = 10
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = TopicIdsResponse
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", Uuid), ("name", CompactString("utf-8")), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class TopicIdsRequest(Request[TopicIdsRequestV10]):  # type: ignore[misc]  # aiokafka has no types
    """A metadata request about one topic. It does not create the topic."""

    API_KEY = 3

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def build(self, request_struct_class: type[TopicIdsRequestV10]) -> Any:
        """The request on the wire."""
        return request_struct_class(
            topics=[(NO_ID, self._topic, {})],
            allow_auto_topic_creation=False,
            include_cluster_authorized_operations=False,
            include_topic_authorized_operations=False,
            tags={},
        )


@dataclass(frozen=True, slots=True)
class TopicNow:
    """A broker's description of a topic.

    Attributes:
        id: the topic's id as Kafka's tools show it; None if the broker has no topic ids.
        led: the partitions that have a leader; None if the broker is too old for this request.
    """

    id: str | None = None
    led: frozenset[int] | None = None


async def describe_topic(client: AIOKafkaClient, topic: str) -> TopicNow:
    """The id of the topic that has this name now, and its partitions that have a leader.

    Raises:
        KafkaError: the topic does not exist, or the request failed.
    """
    node = client.get_random_node()
    try:
        answer = await client.send(node, TopicIdsRequest(topic))
    except (NotImplementedError, IncompatibleBrokerVersion):
        return TopicNow()
    [(code, _, topic_id, _, partitions, *_)] = answer.topics
    error = for_code(code)
    if error is not NoError:
        raise error(topic)
    known = None if topic_id == NO_ID else base64.urlsafe_b64encode(topic_id).decode().rstrip("=")
    return TopicNow(known, frozenset(number for _, number, leader, *_ in partitions if leader >= 0))


async def find_topic_id(client: AIOKafkaClient, topic: str) -> str | None:
    """The id of a topic; see `describe_topic`."""
    return (await describe_topic(client, topic)).id
