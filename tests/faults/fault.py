"""Defines a fault: how a part is broken and repaired, and the promises that must hold nevertheless."""

import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.faults.ledger import Promise
from tests.faults.stage import Stage

SESSION_SECONDS: Final = 15.0
"""A time longer than WEBHOOKS_SESSION_SECONDS, after which the group counts a worker as dead."""

Do = Callable[[Stage, random.Random], Coroutine[None, None, None]]


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that can happen in a run.

    Attributes:
        about: the description in the table.
        do: a function that breaks a part and repairs it.
        promise: the promises that must hold nevertheless.
        touches: the parts that the fault affects. Faults that affect different parts can happen at the same time.
        workers: the number of workers before the fault.
        needs: the requirements of the fault: "tokens" (subscriptions with OAuth2), "dlq-cluster" (a cluster for dead
            letters), "iptables" and root, "libfaketime", "tmpfs" (brokers on a small disk), "match" (the routing).
        programs: the directory of the build that makes the subscriptions and runs the workers before the fault; None:
            this build.
    """

    name: str
    about: str
    do: Do
    promise: Promise
    touches: frozenset[str] | set[str]
    workers: int = 2
    needs: frozenset[str] | set[str] = frozenset()
    programs: Path | None = None


CLEAN: Final = Promise()
REFUSED: Final = Promise(refused=True)
INTERRUPTED: Final = Promise(interrupted=True, lost_at_most_once=1)
WOKEN: Final = Promise(interrupted=True, lost_at_most_once=1, late_at_most_once=1)
