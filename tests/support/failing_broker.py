"""An embedded broker that can be made to fail."""

import ctypes
from collections.abc import Sequence
from enum import IntEnum
from typing import Final

from pipeline.cli.dev.embedded_broker import HANDLE, EmbeddedBroker, Signatures, declare

ALL_BROKERS: Final = -1
"""Stands for every broker."""
NOBODY: Final = -1
"""Stands for no broker."""

_SIGNATURES: Final[Signatures] = {
    "rd_kafka_mock_partition_set_leader": (
        ctypes.c_int,
        [HANDLE, ctypes.c_char_p, ctypes.c_int32, ctypes.c_int32],
    ),
    "rd_kafka_mock_push_request_errors_array": (None, [HANDLE, ctypes.c_int16, ctypes.c_size_t, HANDLE]),
    "rd_kafka_mock_broker_set_rtt": (ctypes.c_int, [HANDLE, ctypes.c_int32, ctypes.c_int]),
    "rd_kafka_mock_broker_set_down": (ctypes.c_int, [HANDLE, ctypes.c_int32]),
    "rd_kafka_mock_broker_set_up": (ctypes.c_int, [HANDLE, ctypes.c_int32]),
}


class Request(IntEnum):
    """API keys of the requests that tests make fail (Kafka protocol, "API Keys")."""

    PRODUCE = 0
    FIND_COORDINATOR = 10


class FailingBroker(EmbeddedBroker):
    """A cluster in threads of librdkafka, which ends with this object."""

    def __init__(self, brokers: int = 1) -> None:
        super().__init__(brokers)
        declare(self._library, _SIGNATURES)

    def lead(self, topic: str, partition: int, broker: int | None) -> None:
        """Make a broker the leader of a partition; with None, it has no leader. The partition keeps its events."""
        code = self._library.rd_kafka_mock_partition_set_leader(
            self._running(), topic.encode(), partition, NOBODY if broker is None else broker
        )
        self._check(code, f"{topic}-{partition}")

    def fail_next(self, request: Request, errors: Sequence[int]) -> None:
        """Answer the next requests of one kind with these Kafka error codes, in this order. 0 means no error."""
        codes = (ctypes.c_int * len(errors))(*errors)
        self._library.rd_kafka_mock_push_request_errors_array(self._running(), request, len(errors), codes)

    def delay(self, seconds: float, broker: int = ALL_BROKERS) -> None:
        """Delay every answer by *seconds* from now on. 0 ends the delay."""
        code = self._library.rd_kafka_mock_broker_set_rtt(self._running(), broker, round(seconds * 1000))
        self._check(code, f"broker {broker}")

    def down(self, broker: int = ALL_BROKERS) -> None:
        """Close the connections of a broker and refuse new ones. The broker still leads its partitions."""
        self._check(self._library.rd_kafka_mock_broker_set_down(self._running(), broker), f"broker {broker}")

    def up(self, broker: int = ALL_BROKERS) -> None:
        """Accept connections again, with all earlier data."""
        self._check(self._library.rd_kafka_mock_broker_set_up(self._running(), broker), f"broker {broker}")
