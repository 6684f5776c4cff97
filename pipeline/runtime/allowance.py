"""A worker that lacks a right: it says which one, at most once in ten seconds, and goes on when it comes.

start     the worker waits with its topics until it has what it needs (worker.py)
running   `Allowance` looks every ten seconds; while a right is missing the worker is not ready
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from pipeline.core.clock import Clock
from pipeline.core.errors import BrokerError
from pipeline.observability.instruments import LineLimit
from pipeline.runtime.rights import Right

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 10.0


class Allowance:
    """Which rights this worker lacks.

    Args:
        lines: how often a missing right is logged.

    Attributes:
        missing: as of the last look.
    """

    def __init__(self, lines: LineLimit | None = None) -> None:
        self._lines = LineLimit(LOOK_SECONDS) if lines is None else lines
        self.missing: tuple[Right, ...] = ()

    async def watch(self, ask: Callable[[], Awaitable[Sequence[Right]]], clock: Clock) -> None:
        """Run until cancelled: look, and look again.

        Args:
            ask: the rights that are missing now; raises BrokerError where no broker tells.
            clock: for the pause between two looks.
        """
        while True:
            await clock.sleep(LOOK_SECONDS)
            try:
                found = await ask()
            except BrokerError as error:
                logger.debug("the rights are not known: %s", error)  # whoever needs the broker says more of it
            else:
                self.note(found)

    def note(self, missing: Sequence[Right]) -> None:
        """Take in what is missing now, and log it."""
        if self.missing and not missing:
            logger.info("this worker has every right that it needs again")
        self.missing = tuple(missing)
        for right in missing:
            if self._lines.passes(right) is not None:
                logger.warning("%s", right)

    @property
    def problem(self) -> str | None:
        """Why the worker is not ready, a sentence for each missing right; None if it has them all."""
        return "; ".join(map(str, self.missing)) or None
