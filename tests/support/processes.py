"""Which process of a run with several (`pytest --numprocesses`) takes which test, as a pytest plugin."""

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

BROKER = "tests/broker/"


class Scheduling(LoadFileScheduling):  # type: ignore[misc] # pytest-xdist has no types
    """A file's tests share a process and so their fixtures; those on brokers run one after another.

    They start workers and wait for them, and share one real Kafka.
    """

    def _split_scope(self, nodeid: str) -> str:
        return BROKER if nodeid.startswith(BROKER) else nodeid.split("::", maxsplit=1)[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    """Asked of each plugin by pytest-xdist."""
    return Scheduling(config, log)
