"""Faults of a worker's network and clock."""

import random
from typing import Final

from tests.faults.around import CUT_GROUP, faked_clock, unreachable
from tests.faults.fault import CLEAN, SESSION_SECONDS, WOKEN, Fault
from tests.faults.stage import Stage


async def cut_off(stage: Stage, _: random.Random) -> None:
    """A worker can't reach the brokers for longer than its session timeout, but can reach the receiver."""
    worker = await stage.cluster.start_worker(group=CUT_GROUP)
    await stage.cluster.until_ready(*stage.workers)
    async with unreachable(stage.brokers.ports, CUT_GROUP):
        await stage.steady(SESSION_SECONDS + 7)
    await stage.steady(5)
    # The worker may have ended. In production, a supervisor would have restarted the worker.
    if worker.is_running:
        await stage.cluster.until_ready(*stage.workers)


async def clock_jumps(stage: Stage, _: random.Random) -> None:
    """The clock of a worker jumps an hour forward, then two hours back."""
    offset = stage.cluster.folder / "clock"
    offset.write_text("+0")
    await stage.cluster.start_worker(environment=faked_clock(offset))
    await stage.cluster.until_ready(*stage.workers)
    for jump in ("+3600", "-3600", "+0"):
        offset.write_text(jump)
        await stage.steady(4)


SURROUNDING_FAULTS: Final = (
    Fault(
        "cut-off",
        "network: a worker cut off from the brokers for 22 s",
        cut_off,
        WOKEN,
        {"workers"},
        needs={"iptables"},
    ),
    Fault(
        "clock-jumps",
        "a worker's clock: one hour ahead, two back",
        clock_jumps,
        CLEAN,
        {"workers"},
        needs={"libfaketime"},
    ),
)
