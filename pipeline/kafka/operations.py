"""Asks which operations a broker allows a client on topics and on the cluster (KIP-430).

aiokafka supports Metadata up to version 5; version 8 (Kafka 2.3) added the authorized operations.
"""

from typing import Final

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String

OPERATIONS: Final = {
    "READ": 3,
    "WRITE": 4,
    "CREATE": 5,
    "DELETE": 6,
    "ALTER": 7,
    "DESCRIBE": 8,
    "CLUSTER_ACTION": 9,
    "DESCRIBE_CONFIGS": 10,
    "ALTER_CONFIGS": 11,
    "IDEMPOTENT_WRITE": 12,
}
"""The number of each operation (Kafka's `AclOperation`), which is also its bit in an answer."""
UNKNOWN: Final = -(2**31)
"""The value in the answer from a broker that does not return operations."""


def operations(bits: int) -> frozenset[int]:
    """The numbers of the operations in an answer; all of them if the broker does not return operations."""
    return frozenset(number for number in OPERATIONS.values() if bits == UNKNOWN or bits >> number & 1)


class MetadataResponse_v8(Response):  # type: ignore[misc]  # aiokafka has no types  # noqa: N801 - as aiokafka names them
    """Metadata response, version 8: with the operations that the client may perform."""

    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            Array(("node_id", Int32), ("host", String("utf-8")), ("port", Int32), ("rack", String("utf-8"))),
        ),
        ("cluster_id", String("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String("utf-8")),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("cluster_authorized_operations", Int32),
    )


class MetadataRequest_v8(RequestStruct):  # type: ignore[misc]  # as above  # noqa: N801 - as above
    """Metadata request, version 8. Asking creates no topic."""

    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = MetadataResponse_v8
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class OperationsRequest(Request[MetadataRequest_v8]):  # type: ignore[misc]  # as above
    """Asks which operations the client may perform on topics and on the cluster."""

    API_KEY = 3

    def __init__(self, topics: list[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[MetadataRequest_v8]) -> MetadataRequest_v8:
        """The request as it is sent."""
        is_created, with_cluster, with_topics = False, True, True
        return request_struct_class(self._topics, is_created, with_cluster, with_topics)
