"""What a fault is: something that is broken and mended again, and what has to stay whole all the same."""

import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.faults.ledger import Promise
from tests.faults.stage import Stage

SESSION_SECONDS: Final = 15.0
"""The group counts a worker as dead before that (WEBHOOKS_SESSION_SECONDS)."""

Do = Callable[[Stage, random.Random], Coroutine[None, None, None]]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong.

    Attributes:
        about: for the table.
        do: breaks and mends it.
        promise: what has to hold all the same.
        touches: what it does something to; faults that touch different things can happen at the same time.
        workers: that run before it.
        needs: "tokens" (subscriptions with OAuth2), "dlq-cluster" (a cluster for dead letters), "iptables" and root,
            "libfaketime", "tmpfs" (brokers on a small disk), "match" (the routing).
        programs: where those of the build are that subscriptions are made with and workers run before it; None for this
            build.
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
