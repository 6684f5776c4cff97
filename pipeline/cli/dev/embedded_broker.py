"""A Kafka broker inside this process: the mock cluster of librdkafka, for `webhooks dev` and for tests.

librdkafka, which the confluent-kafka wheel contains, has a small in-memory cluster (rdkafka_mock.h). confluent-kafka
offers no Python API for it, so this module uses ctypes. Clients of any process may connect to it.

It has these limits, seen with aiokafka 0.14. A group has one member at a time. Transactions are accepted
without effect, and a reader needs `check_crcs=False` to pass an end-of-transaction marker. A partition keeps its newest
5 MiB. Nothing can be described, altered or deleted. Topics are created with `create_topic`, not with an admin client. A
topic that a client asks about is created with four partitions. Tests with this broker prove nothing about rebalances,
fencing or retention.
"""

import ctypes
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self

from pipeline.core.errors import BrokerError


class EmbeddedBroker:
    """A cluster that lives as long as this object, in threads of librdkafka.

    Attributes:
        bootstrap: the addresses of its brokers, `host:port` separated by commas.
        brokers: the number of brokers; their ids begin with 1.

    Raises:
        BrokerError: confluent-kafka is not installed, or the cluster did not start.
    """

    def __init__(self, brokers: int = 1) -> None:
        if brokers < 1:
            raise BrokerError(f"an embedded cluster needs at least 1 broker, not {brokers}")
        self.brokers = brokers
        self._library = _load_library()
        self._client = self._start_client()
        self._cluster: int | None = self._library.rd_kafka_mock_cluster_new(self._client, brokers)
        if self._cluster is None:
            self._library.rd_kafka_destroy(self._client)
            raise BrokerError(f"the embedded cluster of {brokers} broker(s) did not start")
        self.bootstrap: str = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        # The first join of every group waits for this time, by default 3 s.
        self._library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)

    def __repr__(self) -> str:
        return f"<EmbeddedBroker {self.bootstrap if self._cluster else 'closed'}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the cluster and discard its data. Closing twice is harmless."""
        if self._cluster is not None:
            self._library.rd_kafka_mock_cluster_destroy(self._cluster)
            self._library.rd_kafka_destroy(self._client)
            self._cluster = None

    def create_topic(self, name: str, partitions: int = 1) -> None:
        """Create a topic.

        Raises:
            BrokerError: the topic exists (perhaps because a client asked about it), or *partitions* is below 1.
        """
        if partitions < 1:
            raise BrokerError(f"topic {name}: partitions must be at least 1, not {partitions}")
        replicas = min(3, self.brokers)
        code = self._library.rd_kafka_mock_topic_create(self._running(), name.encode(), partitions, replicas)
        self._check(code, f"topic {name}")

    def _running(self) -> int:
        if self._cluster is None:
            raise BrokerError("the embedded broker is closed")
        return self._cluster

    def _start_client(self) -> int:
        """Create the librdkafka client that owns the threads of the cluster. The client connects to no broker."""
        reason = ctypes.create_string_buffer(512)
        configuration = self._library.rd_kafka_conf_new()
        # At the default log level, a client without a bootstrap server warns on stderr.
        self._library.rd_kafka_conf_set(configuration, b"log_level", b"3", reason, len(reason))
        client: int | None = self._library.rd_kafka_new(_PRODUCER, configuration, reason, len(reason))
        if client is None:
            raise BrokerError(f"librdkafka did not start: {reason.value.decode()}")
        return client

    def _check(self, code: int, subject: str) -> None:
        if code:
            raise BrokerError(f"{subject}: {self._library.rd_kafka_err2str(code).decode()}")


_PRODUCER: Final = 0  # rd_kafka_type_t

HANDLE: Final = ctypes.c_void_p
Signatures = Mapping[str, tuple[type | None, list[type]]]
"""The type of the result and of each argument, by the name of the function."""

_SIGNATURES: Final[Signatures] = {
    "rd_kafka_conf_new": (HANDLE, []),
    "rd_kafka_conf_set": (
        ctypes.c_int,
        [HANDLE, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t],
    ),
    "rd_kafka_new": (HANDLE, [ctypes.c_int, HANDLE, ctypes.c_char_p, ctypes.c_size_t]),
    "rd_kafka_destroy": (None, [HANDLE]),
    "rd_kafka_err2str": (ctypes.c_char_p, [ctypes.c_int]),
    "rd_kafka_mock_cluster_new": (HANDLE, [HANDLE, ctypes.c_int]),
    "rd_kafka_mock_cluster_destroy": (None, [HANDLE]),
    "rd_kafka_mock_cluster_bootstraps": (ctypes.c_char_p, [HANDLE]),
    "rd_kafka_mock_topic_create": (ctypes.c_int, [HANDLE, ctypes.c_char_p, ctypes.c_int, ctypes.c_int]),
    "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, [HANDLE, ctypes.c_int32]),
}


def _load_library() -> ctypes.CDLL:
    try:
        # Imported here because it is an extra, which only the embedded broker needs.
        from confluent_kafka import cimpl  # noqa: PLC0415
    except ImportError as error:
        raise BrokerError(
            "the embedded broker needs confluent-kafka: pip install 'webhook-pipeline[dev-broker]'"
        ) from error
    # The extension module is linked against librdkafka. So its handle finds librdkafka's symbols in the copy that is
    # already loaded, wherever the wheel of this platform keeps the library.
    library = ctypes.CDLL(cimpl.__file__)
    declare(library, _SIGNATURES)
    return library


def declare(library: ctypes.CDLL, signatures: Signatures) -> None:
    """Tell ctypes the types of functions. Raises: BrokerError, if the library lacks one of them."""
    for name, (result, arguments) in signatures.items():
        try:
            function = getattr(library, name)
        except AttributeError as error:
            raise BrokerError(
                f"this build of confluent-kafka has no {name}: install confluent-kafka from its wheel"
            ) from error
        function.restype, function.argtypes = result, arguments
