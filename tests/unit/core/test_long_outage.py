"""A receiver is down for an hour. Afterwards all events are delivered, without any command."""

import asyncio

import pytest

from pipeline.core.lane_state import LaneState
from pipeline.core.outcome import Failed, ServerError
from pipeline.core.subscription import Qos, RetryPolicy
from tests.support.core import Core, subscription
from tests.support.virtual_time import in_virtual_time, settle

RECOVERY = RetryPolicy(initial_delay_seconds=60.0, max_delay_seconds=3600.0, max_elapsed_seconds=259_200.0)
"""The default of `recovery` in a definition."""
RETRY = RetryPolicy(initial_delay_seconds=1.0, max_delay_seconds=60.0, max_attempts=5)
"""A policy whose attempts are used up in the first minutes."""
DOWN = (ServerError(503), Failed("connection refused", may_have_arrived=False))
NAMES = ("a", "b", "c")
MINUTES = 60
STEP_SECONDS = 5


class Outage:
    """A worker, and a receiver that refuses everything until it is up.

    Attributes:
        taken: the events that the receiver has accepted, in the order of arrival.
        refused: the number of requests that the receiver has refused.
    """

    def __init__(self, core: Core) -> None:
        self.core = core
        self.is_up = False
        self.taken: list[int] = []
        self.refused = 0

    async def go_on(self, seconds: int) -> None:
        """Let time pass. Requests are answered at once."""
        for _ in range(seconds // STEP_SECONDS):
            await asyncio.sleep(STEP_SECONDS)
            await settle()
            while pending := self.core.pending:
                for offset in pending:
                    self.taken += [offset] if self.is_up else []
                    self.refused += not self.is_up
                    await self.core.answer(offset, *(() if self.is_up else [DOWN[self.refused % len(DOWN)]]))
                await self.core.land()
                await self.core.read()
            await self.core.checkpoint()
            await self.core.land()
            await self.core.read()
            self.core.commit()

    async def restart(self) -> None:
        """Stop the worker cleanly, and start another one."""
        former = self.core
        stopping = asyncio.create_task(former.stop())
        await settle()
        await former.land()
        await stopping
        self.core = await Core(before=former, chance=lambda: 0.5).open()


@pytest.mark.parametrize("qos", [Qos.AT_LEAST_ONCE, Qos.AUTO], ids=str)
@in_virtual_time
async def test_after_an_hour_of_outages_all_events_are_delivered(qos: Qos) -> None:
    subscriptions = [subscription(name, qos, retry=RETRY, probes=RECOVERY) for name in NAMES]
    outage = Outage(await Core(*subscriptions, chance=lambda: 0.5).open())
    for minute in range(MINUTES):
        for name in NAMES:
            await outage.core.stream(1, name)
        await outage.go_on(60)
        if minute == MINUTES // 2:
            assert {outage.core.lane(name).state for name in NAMES} == {LaneState.FAILED}
            await outage.restart()
    assert outage.taken == []

    outage.is_up = True
    await outage.go_on(2 * 3600)  # the intervals have doubled up to an hour
    everything = range(len(NAMES) * MINUTES)
    assert sorted(outage.taken) == [*everything]
    if qos is Qos.AT_LEAST_ONCE:
        for place in range(len(NAMES)):
            own = [offset for offset in outage.taken if offset % len(NAMES) == place]
            assert own == sorted(own)
    assert outage.refused < len(everything), "a receiver that is down gets only a few requests"
    assert outage.core.telemetry.probes["recovered"] == len(NAMES)
    await outage.core.end()
