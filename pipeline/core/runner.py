"""A runner delivers the events of one lane, one after another.

    take -> wanted? -> turn -> slot -> still wanted, lane still delivering? -> lease -> (at-most-once: claim) -> attempt
         -> settled | waits, and again | dead letter | the lane stops

After each wait, the runner asks the lane whether to continue with the event: a pause, an edit, a command or the end of
the partition may have come in between.
"""

import asyncio
from typing import Literal

from pipeline.core.dead_letter import DeadLetterRecord
from pipeline.core.delivery import Delivery
from pipeline.core.errors import FencedError, LeaseEndedError
from pipeline.core.in_flight import InFlight
from pipeline.core.lane import Lane
from pipeline.core.observer import DropRule, Settlement
from pipeline.core.outcome import Delivered, Outcome, describe, may_have_arrived
from pipeline.core.policy import DeadLetter, Drop, Reason, Retry, Settle, Stop
from pipeline.core.subscription import Qos, Subscription


class Runner:
    """One of the runners of a lane. A lane has at most as many as the subscription's concurrency."""

    __slots__ = ("_delivery", "_lane")

    def __init__(self, lane: Lane, delivery: Delivery) -> None:
        self._lane = lane
        self._delivery = delivery

    async def run(self) -> None:
        """Deliver events until the lane has none for this runner."""
        lane = self._lane
        try:
            while (flight := lane.take()) is not None:
                try:
                    await self._carry(flight)
                except FencedError:
                    raise
                except Exception as error:
                    # This is a bug. The partition logs it, and the event must not stay in flight.
                    if lane.events.in_flight.get(flight.offset) is flight:
                        lane.fail(flight, "exception", f"internal error: {type(error).__name__}", has_arrived=True)
                    raise
        finally:
            lane.runner_ended()

    async def _carry(self, flight: InFlight) -> None:
        """Try to deliver the event, until it is settled, returns to the log or stops its lane."""
        lane = self._lane
        if lane.subscription is None and not await self._becomes_known(flight):
            return
        while True:
            outcome = await self._outcome(flight)
            if outcome is None or not lane.is_current(flight):
                return
            if isinstance(outcome, Delivered):
                lane.recover()
                self._settle(flight, "delivered")
                return
            if not await self._act_on(flight, outcome):
                return

    async def _becomes_known(self, flight: InFlight) -> bool:
        """Wait for the registry. Returns whether the subscription exists and the event still has to be sent."""
        lane = self._lane
        await self._delivery.caught_up()
        if not lane.may_go_on(flight):
            return False
        if lane.subscription is None:
            await self._give_up_unknown(flight)
            return False
        return True

    # --------------------------------------------------------------- one attempt

    async def _outcome(self, flight: InFlight) -> Outcome | None:
        """The outcome of an attempt, made when the rate and the lease allow it; None if no attempt was made."""
        while await self._has_turn(flight):
            try:
                return await self._attempt(flight)
            except LeaseEndedError:
                self._delivery.observer.withheld()
                if not await self._regain_lease(flight):
                    break
        return None

    async def _has_turn(self, flight: InFlight) -> bool:
        """Wait for the rate. Returns whether the event still has to be sent: filter and lane may have changed."""
        lane = self._lane
        while (subscription := lane.subscription) is not None:
            if not self._is_wanted(subscription, flight):
                # A long run of filtered events must not block the event loop.
                await asyncio.sleep(0)
                return False
            seconds = self._delivery.seconds_until_turn(subscription)
            if not seconds:
                break
            self._delivery.observer.throttled("rate")
            if not (lane.may_go_on(flight) and await self._sleep(flight, seconds)):
                return False
        return True

    def _is_wanted(self, subscription: Subscription, flight: InFlight) -> bool:
        """Whether the event matches the filter, which is evaluated once per revision.

        An event that does not match is settled.
        """
        if subscription.filter is None or flight.wanted_by is subscription:
            return True
        if subscription.filter(flight.event) or self._delivery.is_addressed(flight.event):
            flight.wanted_by = subscription
            return True
        self._settle(flight, "filtered")
        return False

    async def _attempt(self, flight: InFlight) -> Outcome | None:
        """Make one attempt. Returns None if the event must not be sent any more.

        Raises:
            LeaseEndedError: no attempt was made.
        """
        limits, subscription = self._delivery.concurrency_limits, self._lane.subscription
        # At an ordered level, each lane sends one event at a time.
        if limits is None or subscription is None or subscription.qos.is_ordered:
            return await self._attempt_with_slot(flight)
        await limits.acquire(subscription.id, subscription.concurrency)
        try:
            return await self._attempt_with_slot(flight)
        finally:
            limits.release(subscription.id)

    async def _attempt_with_slot(self, flight: InFlight) -> Outcome | None:
        lane, delivery = self._lane, self._delivery
        slots, suspect = delivery.slots, lane.is_suspect
        if not slots.try_acquire(suspect=suspect):
            delivery.observer.throttled("slots")
            await lane.waits.until_slot(slots, suspect=suspect)
        try:
            # This is read only now, because the lane may have been stopped or edited during the waits.
            subscription = lane.subscription
            if subscription is None or not lane.may_go_on(flight) or not self._is_wanted(subscription, flight):
                return None
            delivery.lease.check()
            if subscription.qos is Qos.AT_MOST_ONCE:
                # The event is claimed only with a slot: a crash between claim and request loses it, so that time must
                # be short.
                await lane.claims.claim(flight)
                if not lane.is_current(flight):
                    return None
                delivery.lease.check()
            outcome = await delivery.attempt(subscription, flight)
            lane.saw(outcome)
            return outcome
        finally:
            slots.release(suspect=suspect)

    # --------------------------------------------------------------- waits

    async def _sleep(self, flight: InFlight, seconds: float) -> bool:
        """Wait for *seconds*.

        Returns whether this runner continues. If the wait is long, it does not: the event returns to the log.
        """
        lane = self._lane
        if lane.is_delivering:
            if lane.shelve(flight, seconds):
                return False
            await lane.waits.sleep(seconds)
        return lane.may_go_on(flight)

    async def _regain_lease(self, flight: InFlight) -> bool:
        """Keep the event, which was not sent, until the lease is held. Returns whether this runner continues."""
        lane, lease = self._lane, self._delivery.lease
        lane.claims.hand_back(flight)
        while flight.epoch == lane.events.epoch and lane.is_delivering and not lease.is_held:
            await lane.waits.until_held(lease)
        return lane.may_go_on(flight)

    async def _awaits_lease(self, flight: InFlight) -> bool:
        """Wait for the lease, with an event that has to be dead-lettered.

        Returns False if the lane is drained first, or a command has moved the cursor.
        """
        lane, lease = self._lane, self._delivery.lease
        while flight.epoch == lane.events.epoch and not lane.is_draining and not lease.is_held:
            await lane.waits.until_held(lease)
        return lane.is_current(flight) and lease.is_held

    # --------------------------------------------------------------- decisions

    async def _act_on(self, flight: InFlight, outcome: Outcome) -> bool:
        """Act on an outcome other than a delivery. Returns whether to make another attempt now."""
        lane = self._lane
        decision = self._delivery.decide(lane.rules, flight, outcome, is_probe=lane.is_probing)
        if not isinstance(decision, Retry | Stop):
            lane.recover()
        match decision:
            case Settle():
                lane.settle(flight)
            case Retry(after_seconds, renew_token):
                if renew_token:
                    flight.tries = flight.tries._replace(renew_token=True, token_renewed=True)
                lane.back_off(flight, after_seconds)
                return await self._sleep(flight, after_seconds) if after_seconds > 0 else lane.may_go_on(flight)
            case DeadLetter(reason):
                await self._dead_letter(flight, reason, outcome)
            case Stop(kind):
                lane.fail(flight, kind, describe(outcome), has_arrived=may_have_arrived(outcome))
            case Drop():
                self._drop(flight, "not-retried")
        return False

    def _settle(self, flight: InFlight, how: Settlement) -> None:
        self._delivery.observer.settled(how)
        self._lane.settle(flight)

    def _drop(self, flight: InFlight, rule: DropRule) -> None:
        self._lane.report_dropped(rule, flight.offset)
        self._settle(flight, "dropped")

    async def _dead_letter(self, flight: InFlight, reason: Reason, outcome: Outcome | None) -> None:
        lane, delivery = self._lane, self._delivery
        if not await self._awaits_lease(flight):
            return  # the event stays unsettled for the next owner of the partition
        subscription, tries = lane.subscription, flight.tries
        refusal = await delivery.dead_letter(
            DeadLetterRecord(
                event=flight.event,
                reason=reason,
                outcome=outcome,
                attempts=tries.made,
                first_attempt_at=tries.first_at,
                last_attempt_at=tries.last_at,
                subscription=lane.name,
                url=None if subscription is None else subscription.url,
            )
        )
        if not lane.is_current(flight):
            return
        if refusal is None:
            self._settle(flight, "dead-lettered")
        elif subscription is None:
            # There is no subscription to put into FAILURE. So the event is dropped, as without a dead-letter topic.
            self._drop(flight, self._unknown)
        elif lane.rules.qos is Qos.NONE:
            self._drop(flight, "not-retried")
        else:
            lane.fail(flight, "dead-letter", refusal, has_arrived=True)

    async def _give_up_unknown(self, flight: InFlight) -> None:
        """Dead-letter an event whose key names no subscription, or drop it if there is no dead-letter topic."""
        if self._delivery.dead_letters is None:
            self._drop(flight, self._unknown)
        else:
            await self._dead_letter(flight, self._unknown, None)

    @property
    def _unknown(self) -> Literal["undecodable", "unknown-subscription"]:
        """Why an event without a subscription is given up."""
        return "undecodable" if self._lane.name is None else "unknown-subscription"
