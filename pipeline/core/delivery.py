"""The delivery of one event: claim, attempt, judge, and again; orchestration only.

    filter, pace -> slot -> lease -> (at-most-once: claim) -> attempt -> Outcome -> policy.decide
        -> Settle | Retry | DeadLetter | Stop | Drop

A lane's runner (lane.py) calls it for one event at a time. It never raises, except when the runner is cancelled or the
partition is closed under it; what it finds out it tells the lane, which alone changes queues and cursors.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pipeline.core.attempts import FailedAttempt
from pipeline.core.clock import Clock, steady_now
from pipeline.core.concurrency import Slots
from pipeline.core.dead_letter import DeadLetters, Letter
from pipeline.core.errors import LeaseEndedError, NotDeadLetteredError
from pipeline.core.in_flight import Flight
from pipeline.core.lease import Lease
from pipeline.core.model import Event, Qos, Subscription
from pipeline.core.observer import DropRule, Observer
from pipeline.core.outcome import Delivered, Failed, Outcome, describe, may_have_arrived, status_of
from pipeline.core.policy import DeadLetter, Drop, Reason, Retry, Settle, Stop, decide
from pipeline.core.rate_limit import Pacing

if TYPE_CHECKING:
    from pipeline.core.lane import Lane


class Send(Protocol):
    """One attempt over HTTP: authenticates, calls the callback (auth/authorization.py, http/).

    It never raises, but LeaseEndedError: nothing of the event was sent.
    """

    def __call__(
        self, subscription: Subscription, event: Event, attempt: int, *, renew_token: bool = False
    ) -> Awaitable[Outcome]:
        """What happened."""
        ...


class CaughtUp(Protocol):
    """The registry's promise about subscriptions that were made a moment ago (subscriptions/registry.py)."""

    async def caught_up(self) -> None:
        """Return when the registry has read past the end its topic had at the call."""
        ...


@dataclass(frozen=True, slots=True)
class Delivery:
    """The way of one event; its collaborators are shared by all lanes of a worker.

    Attributes:
        chance: draws a number from 0 to 1, for the jitter of a wait.
    """

    send: Send
    dead_letters: DeadLetters | None
    registry: CaughtUp
    slots: Slots
    lease: Lease
    clock: Clock
    telemetry: Observer
    pacing: Pacing
    chance: Callable[[], float]

    async def __call__(self, lane: "Lane", flight: Flight) -> None:
        """Deliver *flight* as far as it goes now: until it is settled, put back or stops its lane."""
        if lane.subscription is None and not await self._becomes_known(lane, flight):
            return
        while True:
            outcome = await self._outcome(lane, flight)
            if outcome is None:
                return
            if flight.epoch != lane.epoch:
                lane.forget(flight)
                return
            if isinstance(outcome, Delivered):
                self.telemetry.settled("delivered")
                lane.settle(flight)
                return
            if not await self._judge(lane, flight, outcome):
                return

    async def _outcome(self, lane: "Lane", flight: Flight) -> Outcome | None:
        """What comes of an attempt, when it is its turn and the lease is held; None when it is not to be made."""
        while await self._has_turn(lane, flight):
            try:
                return await self._attempt(lane, flight)
            except LeaseEndedError:
                self.telemetry.withheld()
                if not await lane.regain(flight):
                    break
        return None

    async def _becomes_known(self, lane: "Lane", flight: Flight) -> bool:
        """Whether the subscription was made a moment ago, and the event is still to be sent."""
        await self.registry.caught_up()
        if not lane.goes_on(flight):
            return False
        if lane.subscription is None:
            await self._give_up_unknown(lane, flight)
            return False
        return True

    async def _has_turn(self, lane: "Lane", flight: Flight) -> bool:
        """Whether an attempt is to be made: the subscription wants the event, and its pace allows one now."""
        while (subscription := lane.subscription) is not None:
            if not self._is_wanted(lane, subscription, flight):
                # A long run of events that nobody wants must not keep the event loop.
                await asyncio.sleep(0)
                return False
            seconds = self.pacing.turn(subscription, steady_now())
            if not seconds:
                break
            if not await lane.pause(flight, seconds):
                return False
        return True

    def _is_wanted(self, lane: "Lane", subscription: Subscription, flight: Flight) -> bool:
        """Whether the subscription wants the event, found out once per revision; one that it doesn't is settled."""
        if subscription.filter is None or flight.wanted_by is subscription:
            return True
        if subscription.filter(flight.event):
            flight.wanted_by = subscription
            return True
        self.telemetry.settled("filtered")
        lane.settle(flight)
        return False

    async def _attempt(self, lane: "Lane", flight: Flight) -> Outcome | None:
        """One attempt; None when something came in between and it was not made. Raises: LeaseEndedError, likewise."""
        slots, suspect = self.slots, lane.suspect
        if not slots.try_acquire(suspect=suspect):
            await slots.acquire(suspect=suspect)
        try:
            # Only now, for whoever waited for the registry or for a slot may have been stopped, moved or edited since.
            subscription = lane.subscription
            if subscription is None or not lane.goes_on(flight) or not self._is_wanted(lane, subscription, flight):
                return None
            self.lease.check()
            if subscription.qos is Qos.AT_MOST_ONCE:
                # The slot first: a claim is a promise to send, which must not be kept waiting behind other lanes.
                await lane.claim(flight)
                if flight.epoch != lane.epoch:
                    lane.forget(flight)
                    return None
                self.lease.check()
            return await self._send(lane, subscription, flight)
        finally:
            slots.release(suspect=suspect)

    async def _send(self, lane: "Lane", subscription: Subscription, flight: Flight) -> Outcome:
        telemetry = self.telemetry
        before = flight.attempt, flight.first_attempt_at, flight.last_attempt_at, flight.renew_token
        flight.attempt = attempt = flight.attempt + 1
        flight.last_attempt_at = self.clock.now()
        if flight.first_attempt_at is None:
            flight.first_attempt_at = flight.last_attempt_at
        telemetry.attempt_started()
        renew_token, flight.renew_token = flight.renew_token, False
        began = time.perf_counter()
        try:
            outcome = await self.send(subscription, flight.event, attempt, renew_token=renew_token)
        except LeaseEndedError:
            telemetry.attempt_abandoned()
            flight.attempt, flight.first_attempt_at, flight.last_attempt_at, flight.renew_token = before
            raise
        except BaseException:
            telemetry.attempt_abandoned()
            raise
        telemetry.attempted(subscription, flight.event, attempt, outcome, time.perf_counter() - began)
        self.pacing.saw(subscription, outcome, steady_now())
        lane.suspect = isinstance(outcome, Failed) and outcome.timed_out
        return outcome

    async def _judge(self, lane: "Lane", flight: Flight, outcome: Outcome) -> bool:
        """Act on an outcome that isn't a delivery; whether there is another attempt to make now."""
        first = flight.first_attempt_at
        flight.error = FailedAttempt(describe(outcome), self.clock.now(), status_of(outcome))
        decision = decide(
            lane.rules,
            flight.attempt,
            outcome,
            token_renewed=flight.token_renewed,
            elapsed_seconds=0.0 if first is None else max(0.0, self.clock.now() - first),
            chance=self.chance(),
        )
        match decision:
            case Settle():
                lane.settle(flight)
            case Retry(after_seconds, renew_token):
                flight.renew_token = renew_token
                flight.token_renewed = flight.token_renewed or renew_token
                return await lane.wait(flight, after_seconds)
            case DeadLetter(reason):
                await self._dead_letter(lane, flight, reason, outcome)
            case Stop(kind):
                lane.fail(flight, kind, describe(outcome), has_arrived=may_have_arrived(outcome))
            case Drop():
                self._drop(lane, flight, "not-retried")
        return False

    def _drop(self, lane: "Lane", flight: Flight, rule: DropRule) -> None:
        event = flight.event
        self.telemetry.settled("dropped")
        self.telemetry.dropped(rule, subscription=lane.name, partition=event.partition, offset=event.offset)
        lane.settle(flight)

    async def _dead_letter(self, lane: "Lane", flight: Flight, reason: Reason, outcome: Outcome | None) -> None:
        letters = self.dead_letters
        if letters is None:
            raise RuntimeError("the policy asked for a dead letter although there is no dead-letter topic")
        if not self.lease.is_held and not await lane.awaits_lease(flight):
            return  # a new owner, if there is one, comes to the same end by itself, and would write it as well
        subscription = lane.subscription
        letter = Letter(
            event=flight.event,
            reason=reason,
            outcome=outcome,
            attempts=flight.attempt,
            first_attempt_at=flight.first_attempt_at,
            last_attempt_at=flight.last_attempt_at,
            subscription=lane.name,
            url=None if subscription is None else subscription.url,
        )
        refusal: str | None = None
        try:
            await letters.put(letter)
            self.telemetry.dead_lettered(reason, subscription=lane.name, event=flight.event)
        except NotDeadLetteredError as error:
            refusal = str(error)
        if flight.epoch != lane.epoch:
            lane.forget(flight)
        elif refusal is None:
            self.telemetry.settled("dead-lettered")
            lane.settle(flight)
        elif subscription is None:
            # Nobody could resume it: as where there is no dead-letter topic.
            self._drop_unknown(lane, flight)
        else:
            lane.fail(flight, "dead-letter", refusal, has_arrived=True)

    async def _give_up_unknown(self, lane: "Lane", flight: Flight) -> None:
        """The key names no subscription: the event is dead-lettered, or dropped where there is no dead-letter topic."""
        if self.dead_letters is None:
            self._drop_unknown(lane, flight)
        else:
            reason: Reason = "undecodable" if lane.name is None else "unknown-subscription"
            await self._dead_letter(lane, flight, reason, None)

    def _drop_unknown(self, lane: "Lane", flight: Flight) -> None:
        self._drop(lane, flight, "undecodable" if lane.name is None else "unknown-subscription")


async def cancel_all(tasks: set["asyncio.Task[None]"]) -> None:
    """Cancel the tasks and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
