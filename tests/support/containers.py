"""Finds the real Kafka for tests. Without one, tests are skipped or fail."""

import gc
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

import pytest
from docker.errors import DockerException
from testcontainers.community.kafka import KafkaContainer

from tests.support.brokers import TestBroker

DEFAULT_IMAGE: Final = "confluentinc/cp-kafka:7.6.0"


@contextmanager
def real_kafka() -> Iterator[TestBroker]:
    """The Kafka in WEBHOOKS_TEST_KAFKA, or one in a container. Without either, the test is skipped; in CI it fails."""
    if address := os.environ.get("WEBHOOKS_TEST_KAFKA"):
        yield TestBroker(address)
        return
    with kafka_container(expected=in_ci()) as broker:
        yield broker


@contextmanager
def kafka_container(*, expected: bool) -> Iterator[TestBroker]:
    """A Kafka in a container of the image KAFKA_IMAGE, or `DEFAULT_IMAGE`.

    Args:
        expected: whether to fail, instead of skipping the test, if no Docker engine answers or the image is missing.
    """
    container = _started()
    if isinstance(container, str):
        collect_sockets()
        absent(f"no Kafka: set WEBHOOKS_TEST_KAFKA=host:port or fix this: {container}", expected=expected)
    try:
        yield TestBroker(container.get_bootstrap_server())
    finally:
        container.stop()


def _started() -> KafkaContainer | str:
    """A running Kafka, or the reason why none could be started."""
    try:
        container = KafkaContainer(os.environ.get("KAFKA_IMAGE", DEFAULT_IMAGE)).with_kraft()
        # These topics have three replicas by default. With a single broker, no transaction could begin then.
        container.with_env("KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR", "1")
        container.with_env("KAFKA_TRANSACTION_STATE_LOG_MIN_ISR", "1")
        container.start()
    except DockerException as error:
        return str(error)
    return container


def collect_sockets() -> None:
    """Collect the socket that Docker's client leaves open if there is no engine. Otherwise the next test would fail
    because of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def in_ci() -> bool:
    """Whether this is a run in CI, where everything that is missing is an error."""
    return os.environ.get("CI", "").lower() in {"1", "true"}


def docker_expected() -> bool:
    """Whether this CI is configured to have a Docker engine."""
    return in_ci() and os.environ.get("WEBHOOKS_TEST_DOCKER") == "1"


def absent(sentence: str, *, expected: bool) -> NoReturn:
    """Skip the test with the reason *sentence*, or fail if what is missing was *expected*."""
    if expected:
        pytest.fail(sentence, pytrace=False)
    pytest.skip(sentence)
