"""Where the real Kafka of the tests comes from, and what follows when there is none."""

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
    """The Kafka that WEBHOOKS_TEST_KAFKA names, else one in a container; without both: a skip, in CI a failure."""
    if address := os.environ.get("WEBHOOKS_TEST_KAFKA"):
        yield TestBroker(address)
        return
    with kafka_container(expected=in_ci()) as broker:
        yield broker


@contextmanager
def kafka_container(*, expected: bool) -> Iterator[TestBroker]:
    """A single Kafka in a container of the image KAFKA_IMAGE, or `DEFAULT_IMAGE`.

    Args:
        expected: whether to fail, and not to skip, where no Docker engine answers or it has no such image.
    """
    container = _started()
    if isinstance(container, str):
        collect_sockets()
        absent(f"no Kafka: set WEBHOOKS_TEST_KAFKA=host:port or mend this: {container}", expected=expected)
    try:
        yield TestBroker(container.get_bootstrap_server())
    finally:
        container.stop()


def _started() -> KafkaContainer | str:
    """A Kafka that runs, or why there is none."""
    try:
        container = KafkaContainer(os.environ.get("KAFKA_IMAGE", DEFAULT_IMAGE)).with_kraft()
        # Three replicas by default, which one broker can't have: no transaction would ever begin.
        container.with_env("KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR", "1")
        container.with_env("KAFKA_TRANSACTION_STATE_LOG_MIN_ISR", "1")
        container.start()
    except DockerException as error:
        return str(error)
    return container


def collect_sockets() -> None:
    """Docker's client leaves a socket open where no engine answers: that is no fault of whatever test is next."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def in_ci() -> bool:
    """Whether this run is the one that counts: what is missing there is an error."""
    return os.environ.get("CI", "").lower() in {"1", "true"}


def docker_expected() -> bool:
    """Whether this CI says that it has a Docker engine."""
    return in_ci() and os.environ.get("WEBHOOKS_TEST_DOCKER") == "1"


def absent(sentence: str, *, expected: bool) -> NoReturn:
    """Skip the test with *sentence*, or fail it where the thing was expected to be there."""
    if expected:
        pytest.fail(sentence, pytrace=False)
    pytest.skip(sentence)
