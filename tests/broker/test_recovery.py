"""After an outage that is longer than all retries, everything is delivered without an operator."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.core.model import Status
from tests.support.brokers import TestBroker
from tests.support.cluster import Cluster, cluster
from tests.support.recorder import Recorder, accept, answer
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(150)

RECOVERY = {"initialDelaySeconds": 1, "maxDelaySeconds": 2, "maxElapsedSeconds": 3600}
NAMES = tuple(f"sub-{number}" for number in range(6))


async def probes_of(found: Cluster, name: str) -> int:
    """The number of probes in the row of a subscription."""
    causes = [row.cause for (_, key), row in (await found.rows()).items() if key == name]
    return max((cause.probes.made for cause in causes if cause is not None and cause.probes is not None), default=0)


async def until_probed(found: Cluster, name: str, times: int) -> None:
    """Return when the row of a subscription has *times* probes. Raises: TimeoutError."""

    async def is_probed() -> bool:
        return await probes_of(found, name) >= times

    await eventually(is_probed, within_seconds=60, says=found.workers[-1].output)


@pytest.mark.parametrize("qos", ["at-least-once", "auto"])
async def test_an_outage_ends_without_an_operator(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path, recorder: Recorder, qos: str
) -> None:
    async with cluster(kafka, unique_name("recovery"), tmp_path, qos=qos, recovery=RECOVERY) as found:
        for name in NAMES:
            recorder.behaviours[name] = answer(500)
        await found.subscribe(recorder, *NAMES, endpoint={"retry": {"retryOption": "No Retry"}})
        await found.start_worker()
        await found.until_ready()
        await found.produce([(name, b"%d" % number) for number in range(10) for name in NAMES])
        for name in NAMES:
            await found.until_row(name, status=Status.FAILURE)
            await until_probed(found, name, 2)

        # Another worker continues the probes of the first one.
        assert await found.workers[0].terminate() == 0
        before = {name: await probes_of(found, name) for name in NAMES}
        worker = await found.start_worker()
        await found.until_ready(worker)
        for name in NAMES:
            await until_probed(found, name, before[name] + 1)

        for name in NAMES:
            recorder.behaviours[name] = accept
        await found.produce([(name, b"later") for name in NAMES])
        delivered = {(name, body) for name in NAMES for body in [*(b"%d" % number for number in range(10)), b"later"]}
        await recorder.until(lambda: {(call.subscription, call.body) for call in recorder.calls} >= delivered)

        async def is_well() -> bool:
            return all(lane["status"] == "started" for lane in await worker.lanes())

        await eventually(is_well, within_seconds=30, says=worker.output)
        if qos == "at-least-once":
            assert not recorder.out_of_order()
        assert "subscription.recovered" in worker.output()
