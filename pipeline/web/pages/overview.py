"""`/`: the number of subscriptions in each state, and the failures by cause and host."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.cluster.state import EVERY_STATE, FailureGroup, State, StateFilter
from pipeline.core.clock import Clock
from pipeline.web.api.states import View, limited
from pipeline.web.principal import Principal

MOST_GROUPS: Final = 50
"""How many groups are shown. The rest is only counted."""
KEPT_SECONDS: Final = 1.0
"""How long a result is reused, so that many viewers cost no more than one viewer."""


@dataclass(frozen=True, slots=True)
class Situation:
    """The data of the overview.

    Attributes:
        at: the time of the data, Unix seconds.
        groups: the largest groups of failures, at most MOST_GROUPS.
        more: the number of all other groups.
    """

    at: float
    totals: Mapping[State, int]
    groups: Sequence[FailureGroup]
    more: int

    @property
    def total(self) -> int:
        """The number of subscriptions."""
        return sum(self.totals.values())


class Overview:
    """Finds the situation at most once a second for all viewers."""

    def __init__(self, view: View, clock: Clock) -> None:
        self._view = view
        self._clock = clock
        self._turn = asyncio.Lock()
        self._found: Situation | None = None

    async def situation(self, principal: Principal) -> Situation:
        """The situation of the subscriptions that the principal may see."""
        if principal.tenant:
            return await self._find(limited(EVERY_STATE, principal))
        async with self._turn:
            if self._found is None or not 0 <= self._clock.now() - self._found.at < KEPT_SECONDS:
                self._found = await self._find(EVERY_STATE)
            return self._found

    async def _find(self, wanted: StateFilter) -> Situation:
        totals, groups = await self._view.totals(wanted), await self._view.failures(wanted)
        return Situation(self._clock.now(), totals, groups[:MOST_GROUPS], max(0, len(groups) - MOST_GROUPS))
