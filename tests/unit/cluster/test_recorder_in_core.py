"""The core's reports to the recorder: every end of an event has an entry in the attempt log."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pipeline.cluster.attempt_recorder import AttemptRecorder
from pipeline.cluster.attempts import Results
from pipeline.core.outcome import Outcome, Rejected, ServerError
from pipeline.core.ports import LaneLimits
from pipeline.core.subscription import Qos, ReplayOffset, Skip
from pipeline.observability.telemetry import Telemetry
from tests.support.core import IDS, OK, Core, subscription
from tests.support.fakes import VirtualClock
from tests.support.virtual_time import in_virtual_time, settle

BUSY = ServerError(503)
WRONG = Rejected(400)
AT_MOST_ONCE = subscription(qos=Qos.AT_MOST_ONCE)


class Logged(Core):
    """A worker whose core reports to a recorder."""

    recorder: AttemptRecorder

    def __init__(self, *subscriptions: Any, **options: Any) -> None:
        super().__init__(*subscriptions, observed_by=self._record, **options)

    def _record(self, telemetry: Telemetry) -> AttemptRecorder:
        self.recorder = AttemptRecorder(telemetry, IDS, worker="w", mode="all", clock=VirtualClock())
        return self.recorder

    def noted(self) -> list[Results]:
        return [results for _, results in self.recorder.take()]

    def entries(self) -> list[tuple[int | None, str | None, str | None]]:
        """The offset, the decision and the reason in each entry."""
        found = [entry.result for results in self.noted() for entry in results.of()]
        return sorted((result.offset, result.decision, result.reason) for result in found)


async def delivered(core: Logged, *outcomes: Outcome) -> Sequence[tuple[int | None, str | None, str | None]]:
    """The entries of one event whose attempts have these outcomes."""
    await core.open()
    await core.stream(1)
    for outcome in outcomes:
        await core.answer(0, outcome)
        core.dispatcher.checkpoint()
        await settle()
        while not core.pending and outcome is BUSY:
            await VirtualClock().sleep(1)
            await settle()
    found = core.entries()
    await core.end()
    return found


@in_virtual_time
async def test_a_retry_and_a_delivery_are_recorded() -> None:
    assert await delivered(Logged(subscription()), BUSY, OK) == [(0, "delivered", None), (0, "retry", None)]


@in_virtual_time
async def test_a_failure_is_recorded_once() -> None:
    assert await delivered(Logged(subscription()), WRONG) == [(0, "failure", "rejected")]


@in_virtual_time
async def test_a_dead_letter_is_recorded_when_confirmed() -> None:
    core = Logged(subscription(), dead_letters=True)
    await core.open()
    await core.stream(1)
    await core.answer(0, WRONG)
    assert core.entries() == [(0, "dead-letter", "rejected")]
    core.letters.answer(0, is_taken=True)
    await settle()
    assert core.entries() == [(0, "dead-lettered", "rejected")]
    await core.end()


@in_virtual_time
async def test_a_drop_at_qos_none_is_recorded() -> None:
    found = await delivered(Logged(subscription(qos=Qos.NONE)), WRONG)
    assert found == [(0, "dropped", "not-retried"), (0, "dropped", "not-retried")]


@in_virtual_time
async def test_a_skip_is_recorded() -> None:
    spec = subscription()
    core = Logged(spec)
    await core.open()
    await core.stream(1)
    await core.answer(0, WRONG)
    await core.land()
    await core.revise(replace(spec, resume_from=Skip(0, 0)))
    assert core.entries() == [(0, "failure", "rejected"), (0, "skipped", "skipped")]
    await core.end()


@in_virtual_time
async def test_events_discarded_by_a_command_are_recorded_as_a_range() -> None:
    spec = subscription()
    core = Logged(spec)
    await core.open()
    await core.stream(4)
    await core.answer(0, WRONG)
    await core.land()
    await core.revise(replace(spec, resume_from=ReplayOffset(0, 3, discards=True)))
    await asyncio.sleep(2.1)
    assert [each for results in core.noted() for each in results.ranges] == [("s", "dropped", "discarded", 0, 2)]
    await core.end()


@in_virtual_time
async def test_events_lost_with_their_subscription_are_recorded() -> None:
    core = Logged(subscription())
    await core.open()
    await core.stream(3)
    core.delete("s")
    core.hear()
    await settle()
    assert [each for results in core.noted() for each in results.ranges] == [
        ("s", "dropped", "unknown-subscription", 0, 2)
    ]
    await core.end()


@in_virtual_time
async def test_an_event_of_an_unknown_subscription_is_recorded() -> None:
    core = Logged()
    await core.open()
    await core.stream(1, "unheard-of")
    assert core.entries() == [(0, "dropped", "unknown-subscription")]
    await core.end()


@in_virtual_time
async def test_a_claimed_event_that_is_given_up_is_recorded() -> None:
    core = Logged(AT_MOST_ONCE)
    await core.open()
    await core.stream(3)
    await core.land()
    await core.answer(0)
    await core.land()
    await core.answer(1, BUSY)
    await core.land()
    assert (1, "dropped", "given-up") in core.entries()
    await core.end()


@in_virtual_time
async def test_claims_given_up_at_a_stop_are_recorded() -> None:
    """The attempt with event 1 is cancelled, and the row that hands back event 2 is refused."""
    core = Logged(AT_MOST_ONCE, limits=LaneLimits(events=10, bytes=1_000_000, hold_seconds=5.0, claim_events=3))
    await core.open()
    await core.stream(5)
    await core.land()
    await core.answer(0)
    following = await Core(before=core).open()
    stopping = asyncio.create_task(core.stop())
    await asyncio.sleep(60.0)
    await core.land()
    await stopping
    assert [found for found in core.entries() if found[2] == "given-up"] == [
        (1, "dropped", "given-up"),
        (2, "dropped", "given-up"),
    ]
    await following.end()
