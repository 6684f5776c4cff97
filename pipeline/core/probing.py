"""Automatic recovery from FAILURE: a subscription is probed at growing intervals, for some days. Pure.

    failed ──a probe is due──▶ probing ──the receiver answers, or no event waits──▶ behind     deliveries continue
      ▲                         │
      └──────── no answer ──────┘     a probe sends the first event once

A probe counts as an attempt, and follows the rules of the subscription's level. So it risks no more than a `resume`. A
FAILURE is probed only if the next attempt may succeed although no operator has changed anything. The cause in the
cursor row contains the number of probes and the time of the next one.
"""

from collections import Counter
from dataclasses import replace
from typing import Final

from pipeline.core.attempts import Probes
from pipeline.core.model import Cause
from pipeline.core.policy import delay
from pipeline.core.subscription import RetryPolicy

PROBED_KINDS: Final = frozenset({"server-error", "exception", "token-unavailable"})
PROBES_PER_HOST: Final = 2
"""The most probes of one host that a worker makes at a time: thousands of subscriptions may use the same host."""


def scheduled(cause: Cause, policy: RetryPolicy | None, now: float, chance: float, *, made: int | None = None) -> Cause:
    """The cause, with the time of its next probe.

    Args:
        cause: the cause of the FAILURE.
        policy: the intervals and the time limit; None for no probes.
        now: the current time, Unix seconds.
        chance: a random number from 0 to 1.
        made: the number of probes so far; None to take the number in the cause.
    """
    if policy is None or cause.kind not in PROBED_KINDS:
        return replace(cause, probes=None)
    if made is None:
        made = 0 if cause.probes is None else cause.probes.made
    next_at = now + delay(policy, made + 1, None, chance)
    is_over = policy.max_elapsed_seconds is not None and next_at - cause.at > policy.max_elapsed_seconds
    return replace(cause, probes=Probes(made, None if is_over else next_at))


def taken_up(cause: Cause, policy: RetryPolicy | None, now: float, chance: float) -> Cause:
    """The cause, with the time of its next probe. An overdue probe gets a random time within the first interval."""
    if policy is None or cause.kind not in PROBED_KINDS or cause.probes is None:
        return scheduled(cause, policy, now, chance)
    made, next_at = cause.probes.made, cause.probes.next_at
    if next_at is None or next_at > now:
        return cause
    return replace(cause, probes=Probes(made, now + chance * policy.initial_delay_seconds))


class ProbeGate:
    """Limits the probes that a worker makes of each host at a time."""

    def __init__(self) -> None:
        self._hosts: dict[object, str] = {}
        self._taken: Counter[str] = Counter()

    def enter(self, who: object, host: str) -> bool:
        """Whether *who* may probe *host* now. If True, the probe is counted until *who* calls `leave`."""
        if self._taken[host] >= PROBES_PER_HOST:
            return False
        self._hosts[who] = host
        self._taken[host] += 1
        return True

    def leave(self, who: object) -> None:
        """End the probe of *who*, if there is one."""
        host = self._hosts.pop(who, None)
        if host is not None:
            self._taken[host] -= 1
            self._taken += Counter()  # this also removes hosts without probes
