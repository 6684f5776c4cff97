"""Random schedules over the real core: the table of guarantees holds for any order of actions.

`SIMULATION_EXAMPLES` sets how many schedules each test tries; by default it tries more of them in CI.
"""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, get_args

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from pipeline.core.subscription import Rate
from tests.simulation.actions import CASTS, MATCHING_CASTS, Kind, Step, schedules
from tests.simulation.known import KNOWN, Schedule
from tests.simulation.worker import Setting
from tests.simulation.world import World
from tests.support.virtual_time import run

EXAMPLES = int(os.environ.get("SIMULATION_EXAMPLES", "300" if os.environ.get("CI") else "100"))

# An endless schedule is ended by its number of turns, on any machine.
pytestmark = pytest.mark.timeout(0)

many = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


@dataclass(frozen=True, slots=True)
class Family:
    """Simulations with the same routing and the same source topics.

    Attributes:
        matches: whether the routing is `match`.
        has_neighbour: whether there is a second source topic.
    """

    matches: bool
    has_neighbour: bool

    def settings(self, kind: Kind) -> st.SearchStrategy[Setting]:
        """Settings for schedules of this kind."""
        may_be_empty = kind == "commands" and not self.has_neighbour
        return st.builds(
            Setting,
            has_dead_letters=st.booleans(),
            interrupts=st.booleans(),
            is_empty=st.booleans() if may_be_empty else st.just(value=False),
            rate=st.sampled_from([None, None, None, Rate(1.0, 3), Rate(0.5), Rate(0.15)]),
            picks=st.sampled_from([False, False, True]),
            claim_events=st.sampled_from([1, 1, 2, 3]),
            matches=st.just(self.matches),
            probes=st.booleans(),
            has_neighbour=st.just(self.has_neighbour),
        )

    def schedules(self, kind: Kind) -> st.SearchStrategy[list[Step]]:
        """Schedules of this kind, whose events have keys that fit the routing."""
        return schedules(kind, MATCHING_CASTS if self.matches else CASTS)


FAMILIES: Final = {
    "key": Family(matches=False, has_neighbour=False),
    "match": Family(matches=True, has_neighbour=False),
    "key-two-topics": Family(matches=False, has_neighbour=True),
    "match-two-topics": Family(matches=True, has_neighbour=True),
}


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    """Silence the warnings that the core logs about the actions of schedules."""
    logger = logging.getLogger("pipeline")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    yield
    logger.setLevel(level)


@pytest.mark.parametrize("schedule", KNOWN, ids=lambda schedule: schedule.name)
def test_the_guarantees_hold_in_the_known_schedule(schedule: Schedule) -> None:
    run(World(schedule.setting, print).play(schedule.steps))


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
@many
@given(st.data())
def test_the_guarantees_hold_for_any_schedule(family: Family, kind: Kind, data: st.DataObject) -> None:
    setting, steps = data.draw(family.settings(kind)), data.draw(family.schedules(kind))
    run(World(setting, note).play(steps))
