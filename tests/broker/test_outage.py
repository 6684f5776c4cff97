"""An outage of 400 subscriptions is found, explained and repaired with one action, using a worker without
partitions."""

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.broker.test_console import console
from tests.broker.test_page import resume_first_group
from tests.support.brokers import TestBroker
from tests.support.browser import CHROMIUM, browser
from tests.support.cluster import Cluster, cluster
from tests.support.program import Webhooks
from tests.support.recorder import Recorder, answer, recording
from tests.support.waiting import eventually
from tests.support.worker import ADMIN_TOKEN, Worker

pytestmark = pytest.mark.timeout(420)

PATIENT = {"SESSION_SECONDS": "40"}
"""A long session timeout: no worker crashes here, and on a slow machine a worker may send no heartbeat for some
time."""
NO_RETRY = {"retry": {"retryOption": "No Retry"}}
SHARED = 400
DOWN = [f"down-{number:03}" for number in range(SHARED)]
REJECTING = ("rejecting-1", "rejecting-2")
WAITING = 2
"""The number of events of each subscription."""


@pytest.fixture
async def host() -> AsyncIterator[Recorder]:
    """The host of a receiver that is down."""
    async with recording(is_down=True) as found:
        yield found


@pytest.fixture
async def found(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path, host: Recorder, recorder: Recorder
) -> AsyncIterator[Cluster]:
    """Three workers, one of them without a partition. Failed subscriptions stay in FAILURE until a user acts."""
    async with cluster(
        kafka, unique_name("outage"), tmp_path, partitions=2, recovery={"probe": False}, settings=PATIENT
    ) as found:
        recorder.behaviours |= dict.fromkeys(REJECTING, answer(400))
        await found.subscribe(host, *DOWN, endpoint=NO_RETRY)
        await found.subscribe(recorder, "healthy", *REJECTING, endpoint=NO_RETRY)
        for _ in range(3):
            await found.start_worker()
        await found.until_ready(within_seconds=120)
        names = [*DOWN, *REJECTING, "healthy"]
        await found.produce([(name, b"%d" % number) for number in range(WAITING) for name in names])
        await recorder.until_events(len(REJECTING) + WAITING, within_seconds=120)
        yield found


async def idle_worker(found: Cluster) -> Worker:
    """The worker that owns no partition."""
    [idle] = [worker for worker in found.workers if not await worker.partitions()]
    return idle


async def until_repaired(found: Cluster, host: Recorder) -> None:
    """Wait until all waiting events are delivered once and in order; subscriptions with other failures still fail."""
    await host.until_events(SHARED * WAITING, within_seconds=120)
    assert not host.out_of_order()
    assert not host.repeated()
    idle = await idle_worker(found)

    async def only_others_fail() -> bool:
        totals = (await idle.get("/api/cluster"))["totals"]
        return (totals["failure"], totals["live"]) == (len(REJECTING), SHARED + 1)

    await eventually(only_others_fail, within_seconds=60, says=idle.output)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt-get install chromium)")
@pytest.mark.parametrize("where", ["worker", "console"])
async def test_an_outage_can_be_repaired_with_the_page(found: Cluster, host: Recorder, where: str) -> None:
    async with console(found) as alone, browser() as new_tab:
        server = alone if where == "console" else await idle_worker(found)
        await eventually(server.is_ready, within_seconds=60, says=server.output)
        page = await new_tab()
        await page.open(f"http://me:{ADMIN_TOKEN}@127.0.0.1:{server.port}/")
        await page.until("document.querySelector('#tile-failure b')?.innerText === '402'", within_seconds=120)
        said = await page.text("#fails article")
        for part in (str(SHARED), "connection refused by", "Failed", host.base_url.partition("://")[2], "waiting"):
            assert part in said

        await host.come_up()
        await resume_first_group(page, SHARED)
        await until_repaired(found, host)
        await page.until("document.querySelector('#tile-live b')?.innerText === '401'")
        await page.until("document.querySelector('#tile-failure b')?.innerText === '2'")
        assert page.troubles == []


async def test_an_outage_can_be_repaired_with_commands(found: Cluster, host: Recorder, tmp_path: Path) -> None:
    webhooks = Webhooks({**found.environment, "WEBHOOKS_DATA_DIR": str(tmp_path / "shell")})
    address = host.base_url.partition("://")[2]
    shared = ("--state", "failure", "--cause", "exception", "--host", address)
    failing, resume = ("subscriptions", "list", *shared), ("subscriptions", "resume", "--all", *shared)
    listed: list[str] = []

    async def all_known() -> bool:
        listed[:] = [await webhooks.done(*failing, "--output", "json")]
        return len(json.loads(listed[0])) == SHARED

    # Each check starts a program, which takes time on a busy machine.
    await eventually(all_known, within_seconds=240, says=lambda: f"the failures are not listed: {listed}")
    explained = await webhooks.done("explain", DOWN[0])
    for part in ("connection refused by", address, f"{WAITING} events are waiting"):
        assert part in explained

    await host.come_up()
    done = json.loads(await webhooks.done(*resume, "--yes", "--output", "json"))
    assert (done["matched"], done["changed"], done["problems"]) == (SHARED, SHARED, [])
    await until_repaired(found, host)
