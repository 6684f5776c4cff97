"""Logs the missing rights of a worker, at most every ten seconds. The worker continues when they are granted.

start     the worker waits until it has all required rights (worker.py)
running   `RightsWatch` checks every ten seconds; while a right is missing, the worker is not ready
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


class RightsWatch:
    """The rights that this worker lacks.

    Args:
        lines: limits how often a missing right is logged.

    Attributes:
        missing: the missing rights at the last check.
    """

    def __init__(self, lines: LineLimit | None = None) -> None:
        self._lines = LineLimit(LOOK_SECONDS) if lines is None else lines
        self.missing: tuple[Right, ...] = ()

    async def watch(self, ask: Callable[[], Awaitable[Sequence[Right]]], clock: Clock) -> None:
        """Check repeatedly until cancelled.

        Args:
            ask: returns the missing rights; raises BrokerError if no broker answers.
            clock: times the pause between two checks.
        """
        while True:
            await clock.sleep(LOOK_SECONDS)
            try:
                found = await ask()
            except BrokerError as error:
                logger.debug("could not check the rights: %s", error)  # other parts, which need the broker, report more
            else:
                self.report(found)

    def report(self, missing: Sequence[Right]) -> None:
        """Store the missing rights, and log them."""
        if self.missing and not missing:
            logger.info("this worker has all required rights again")
        self.missing = tuple(missing)
        for right in missing:
            if self._lines.passes(right) is not None:
                logger.warning("%s", right)

    @property
    def problem(self) -> str | None:
        """Why the worker is not ready, a sentence for each missing right; None if no right is missing."""
        return "; ".join(map(str, self.missing)) or None
