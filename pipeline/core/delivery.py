"""The steps of a delivery: waiting for the rate, one attempt, the decision, a dead letter.

They are independent of lanes. `Runner` (runner.py) calls them in order, and acts on the decision.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from pipeline.core.attempts import FailedAttempt
from pipeline.core.clock import Clock
from pipeline.core.concurrency import ConcurrencyLimits, Slots
from pipeline.core.dead_letter import DeadLetterRecord, DeadLetterWriter
from pipeline.core.errors import LeaseEndedError, NotDeadLetteredError
from pipeline.core.in_flight import NO_TRIES, InFlight
from pipeline.core.lease import Lease
from pipeline.core.model import Event
from pipeline.core.observer import Observer
from pipeline.core.outcome import Outcome, describe, http_status
from pipeline.core.policy import Decision, Rules, decide, decide_probe
from pipeline.core.probing import ProbeGate
from pipeline.core.rate_limit import RateLimits, SlowStart
from pipeline.core.subscription import Subscription


class Send(Protocol):
    """One attempt over HTTP: authenticates, calls the callback (auth/authorization.py, http/).

    Raises only LeaseEndedError, which means that no part of the event was sent.
    """

    def __call__(
        self, subscription: Subscription, event: Event, attempt: int, *, renew_token: bool = False
    ) -> Awaitable[Outcome]:
        """The outcome of the attempt."""


def never_addressed(_event: Event) -> bool:
    """The value of `Delivery.is_addressed` with `routing: key`, where no event is addressed."""
    return False


@dataclass(frozen=True, slots=True)
class Delivery:
    """The dependencies of an attempt, shared by all lanes of a worker.

    Attributes:
        caught_up: returns when the registry has read up to the end that its topic had at the time of the call.
        chance: draws a number from 0 to 1, for the jitter of a wait.
        concurrency_limits: limit a subscription's requests in flight over all its lanes; None if it has only one lane.
        steady: returns seconds of a monotonic clock, for the rate limits. It is called twice per delivery, so it does
            not use the event loop's clock: in CPython 3.11, finding the running loop takes a system call, 4 % of a
            delivery.
        is_addressed: returns whether an event was written for the subscription in whose lane it is (addressed.py). Such
            an event is sent even if the filter does not match.
        probes: limits the probes of each host.
    """

    send: Send
    dead_letters: DeadLetterWriter | None
    caught_up: Callable[[], Awaitable[None]]
    slots: Slots
    lease: Lease
    clock: Clock
    observer: Observer
    rate_limits: RateLimits
    chance: Callable[[], float]
    steady: Callable[[], float]
    concurrency_limits: ConcurrencyLimits | None = None
    is_addressed: Callable[[Event], bool] = never_addressed
    probes: ProbeGate = field(default_factory=ProbeGate)

    def seconds_until_turn(self, subscription: Subscription) -> float:
        """Seconds until the rate limits of the subscription allow an attempt. If 0, the attempt is counted."""
        return self.rate_limits.turn(subscription, self.steady())

    def slow_start(self, subscription_id: str) -> SlowStart | None:
        """The slow start of a subscription, with times in Unix seconds; None if there is none."""
        found = self.rate_limits.slow_start(subscription_id, self.steady())
        return None if found is None else self._dated(found)

    def slow_starts(self, most: int) -> dict[str, SlowStart]:
        """The slow starts of up to *most* subscriptions, by id."""
        return {name: self._dated(slow) for name, slow in self.rate_limits.slow_starts(self.steady(), most).items()}

    def _dated(self, slow: SlowStart) -> SlowStart:
        return replace(slow, until=self.clock.now() + slow.until - self.steady())

    async def attempt(self, subscription: Subscription, flight: InFlight) -> Outcome:
        """Send the event once, and return the outcome. The attempt counts as soon as it begins.

        Raises:
            LeaseEndedError: nothing was sent, and the attempt does not count.
        """
        observer, before = self.observer, flight.tries
        flight.tries = tries = before.begin(self.clock.now())
        observer.attempt_started()
        began = time.perf_counter()
        try:
            outcome = await self.send(subscription, flight.event, tries.made, renew_token=before.renew_token)
        except LeaseEndedError:
            observer.attempt_abandoned()
            # If a FAILURE ended during the attempt, `forget_tries` has replaced the tries: earlier ones do not count.
            flight.tries = before if flight.tries is tries else NO_TRIES
            raise
        except BaseException:
            observer.attempt_abandoned()
            raise
        observer.attempted(subscription, flight.event, tries.made, outcome, time.perf_counter() - began)
        self.rate_limits.saw(subscription, outcome, self.steady())
        return outcome

    def decide(self, rules: Rules, flight: InFlight, outcome: Outcome, *, is_probe: bool = False) -> Decision:
        """The decision after an attempt that did not deliver the event.

        Records the reason in the tries of the event.
        """
        now, tries = self.clock.now(), flight.tries
        flight.tries = tries._replace(error=FailedAttempt(describe(outcome), now, http_status(outcome)))
        if is_probe:
            decision = decide_probe(rules, outcome, token_renewed=tries.token_renewed)
        else:
            decision = decide(
                rules,
                tries.made,
                outcome,
                token_renewed=tries.token_renewed,
                elapsed_seconds=0.0 if tries.first_at is None else max(0.0, now - tries.first_at),
                chance=self.chance(),
            )
        self.observer.decided(flight.event, decision)
        return decision

    async def dead_letter(self, letter: DeadLetterRecord) -> str | None:
        """Write a dead letter.

        Returns None when the broker has confirmed it, or the reason why the broker will never accept it.
        """
        if self.dead_letters is None:
            raise RuntimeError("the policy asked for a dead letter although there is no dead-letter topic")
        try:
            await self.dead_letters.put(letter)
        except NotDeadLetteredError as error:
            return str(error)
        self.observer.dead_lettered(letter.reason, subscription=letter.subscription, event=letter.event)
        return None
