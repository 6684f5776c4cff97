"""A worker ends when it is told to, whatever its broker does."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.brokers import TestBroker
from tests.support.cluster import cluster
from tests.support.recorder import recording

STOP_SECONDS = 50.0
"""Less than service managers wait: 60 s in deploy/."""


@pytest.mark.timeout(150)
async def test_a_worker_stops_although_its_broker_is_gone(
    embedded: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    assert embedded.mock is not None
    async with recording() as recorder, cluster(embedded, unique_name("stop"), tmp_path) as found:
        await found.subscribe(recorder, "sub-1")
        worker = await found.start_worker()
        await found.until_ready()
        await found.produce([("sub-1", b"%d" % number) for number in range(500)])
        await recorder.until_events(100)
        embedded.mock.down()
        assert await worker.terminate(STOP_SECONDS) == 0
        embedded.mock.up()
