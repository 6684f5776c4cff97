"""`/`: how many subscriptions stand how, and what fails, by cause and host."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.cluster.state import EVERY_STATE, FailureGroup, State, StateFilter
from pipeline.core.clock import Clock
from pipeline.web.api.states import View, limited
from pipeline.web.principal import Principal

MOST_GROUPS: Final = 50
"""Shown; the rest is counted."""
MOST_ASKED: Final = 500
"""Subscriptions whose waiting events are added up, in the largest groups: for more, deliveries would have to wait."""
KEPT_SECONDS: Final = 1.0
"""How long what was found is shown to others too: many pages cost what one does."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A group of failures, and what waits for those of it that were asked about: at most the first hundred.

    Attributes:
        waiting: so many events, or at most so many; None if that is not known.
        is_exact: it is no bound.
        oldest_at: Unix seconds of the oldest one; None if it is not known.
        is_part: the group has more subscriptions than were asked about.
    """

    group: FailureGroup
    waiting: int | None
    is_exact: bool
    oldest_at: float | None
    is_part: bool


@dataclass(frozen=True, slots=True)
class Situation:
    """What the overview shows.

    Attributes:
        at: when it was found, Unix seconds.
        troubles: at most MOST_GROUPS.
        more: how many groups there are beyond those.
    """

    at: float
    totals: Mapping[State, int]
    troubles: Sequence[Trouble]
    more: int

    @property
    def total(self) -> int:
        """How many subscriptions there are."""
        return sum(self.totals.values())


class Overview:
    """Finds the situation, for everybody once a second.

    Args:
        view: of the cluster.
        clock: the time.
    """

    def __init__(self, view: View, clock: Clock) -> None:
        self._view = view
        self._clock = clock
        self._turn = asyncio.Lock()
        self._found: Situation | None = None

    async def situation(self, principal: Principal) -> Situation:
        """The situation of the subscriptions that they see."""
        if principal.tenant:
            return await self._find(limited(EVERY_STATE, principal))
        async with self._turn:
            if self._found is None or not 0 <= self._clock.now() - self._found.at < KEPT_SECONDS:
                self._found = await self._find(EVERY_STATE)
            return self._found

    async def _find(self, wanted: StateFilter) -> Situation:
        totals, groups = await self._view.totals(wanted), await self._view.failures(wanted)
        troubles, left = [], MOST_ASKED
        for group in groups[:MOST_GROUPS]:
            asked = group.ids[:left]
            left -= len(asked)
            troubles.append(self._trouble(group, asked))
            await asyncio.sleep(0)
        return Situation(self._clock.now(), totals, troubles, max(0, len(groups) - MOST_GROUPS))

    def _trouble(self, group: FailureGroup, asked: Sequence[str]) -> Trouble:
        states = [found for name in asked if (found := self._view.state(name)) is not None]
        numbers = [each.waiting_at_most for each in states]
        known = [number for number in numbers if number is not None]
        oldest = min((each.oldest_waiting_at for each in states if each.oldest_waiting_at is not None), default=None)
        waiting = sum(known) if known and len(known) == len(numbers) else None
        is_exact = all(each.waiting_is_exact for each in states)
        return Trouble(group, waiting, is_exact, oldest, group.count > len(asked))
