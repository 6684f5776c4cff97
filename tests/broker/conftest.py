"""Brokers as fixtures: `broker` runs a test on the embedded broker and on a real Kafka, `kafka` on a real Kafka only.

If a real Kafka is configured, tests of commands run on it only, because each of them starts up to ten processes.
"""

import os
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.brokers import TestBroker
from tests.support.containers import real_kafka
from tests.support.failing_broker import FailingBroker
from tests.support.recorder import Recorder, recording
from tests.support.secured import SecuredKafka, secured_kafka


@pytest.fixture(scope="session")
def kafka() -> Iterator[TestBroker]:
    """A real Kafka for the whole run. Tests use unique names (`unique_name`)."""
    with real_kafka() as broker:
        yield broker


@pytest.fixture(scope="session")
def secured() -> SecuredKafka:
    """A real Kafka for the whole run that requires its users to log in."""
    return secured_kafka()


@pytest.fixture
def embedded() -> Iterator[TestBroker]:
    """A fresh embedded broker."""
    with FailingBroker() as mock:
        yield TestBroker(mock.bootstrap, mock)


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def broker(request: pytest.FixtureRequest) -> TestBroker:
    """A broker. The test runs once for each kind of broker."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, TestBroker)
    return found


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    """A receiver that accepts everything by default."""
    async with recording() as found:
        yield found


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark all tests that use a real Kafka, so that `-m 'not kafka'` excludes them."""
    for item in items:
        if {"kafka", "secured"}.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.kafka)
    if os.environ.get("WEBHOOKS_TEST_KAFKA"):
        _leave_out_twins(config, items)


def _leave_out_twins(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests of commands on the embedded broker if the same test also runs on a real Kafka."""
    names = {item.nodeid for item in items}
    commands = (item for item in items if item.path.name.startswith("test_cli_") and "[embedded" in item.nodeid)
    twins = {item for item in commands if item.nodeid.replace("[embedded", "[kafka") in names}
    if twins:
        config.hook.pytest_deselected(items=list(twins))
        items[:] = [item for item in items if item not in twins]
