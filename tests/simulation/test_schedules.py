"""Random schedules over the real core: the table of guarantees holds for any order of actions.

`SIMULATION_EXAMPLES` sets how many schedules each test tries; by default it tries more of them in CI.
"""

import logging
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from pipeline.core.subscription import Rate
from tests.simulation.actions import MATCHING_CASTS, Step, schedules
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
any_rate = st.sampled_from([None, None, None, Rate(1.0, 3), Rate(0.5), Rate(0.15)])
any_picks = st.sampled_from([False, False, True])
any_claims = st.sampled_from([1, 1, 2, 3])
any_setting = st.builds(
    Setting, st.booleans(), st.booleans(), st.just(value=False), any_rate, any_picks, any_claims, probes=st.booleans()
)
any_start = st.builds(
    Setting, st.booleans(), st.booleans(), st.booleans(), any_rate, any_picks, any_claims, probes=st.booleans()
)

any_match = st.builds(
    Setting,
    st.booleans(),
    st.booleans(),
    st.booleans(),
    any_rate,
    any_picks,
    any_claims,
    st.just(value=True),
    probes=st.booleans(),
)


any_two_by_key = st.builds(
    Setting,
    st.booleans(),
    st.booleans(),
    st.just(value=False),
    any_rate,
    any_picks,
    any_claims,
    st.just(value=False),
    st.booleans(),
    st.just(value=True),
)
any_two = st.builds(
    Setting,
    st.booleans(),
    st.booleans(),
    st.just(value=False),
    any_rate,
    any_picks,
    any_claims,
    st.just(value=True),
    st.booleans(),
    st.just(value=True),
)


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    """Silence the warnings that the core logs about the actions of schedules."""
    logger = logging.getLogger("pipeline")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    yield
    logger.setLevel(level)


@pytest.mark.parametrize("schedule", KNOWN, ids=lambda schedule: schedule.name)
def test_the_table_holds_when(schedule: Schedule) -> None:
    run(World(schedule.setting, print).play(schedule.steps))


@many
@given(any_setting, schedules("stops"))
def test_with_clean_stops_nothing_is_lost_or_repeated(setting: Setting, steps: list[Step]) -> None:
    run(World(setting, note).play(steps))


@many
@given(any_setting, schedules("crashes"))
def test_with_crashes_and_takeovers_the_table_holds(setting: Setting, steps: list[Step]) -> None:
    run(World(setting, note).play(steps))


@many
@given(any_start, schedules("commands"))
def test_with_commands_edits_and_deletions_the_table_holds(setting: Setting, steps: list[Step]) -> None:
    run(World(setting, note).play(steps))


@many
@given(any_match, schedules("stops", MATCHING_CASTS))
def test_events_of_several_survive_clean_stops(setting: Setting, steps: list[Step]) -> None:
    run(World(setting, note).play(steps))


@many
@given(any_match, schedules("crashes", MATCHING_CASTS))
def test_events_of_several_survive_crashes_and_takeovers(setting: Setting, steps: list[Step]) -> None:
    run(World(setting, note).play(steps))


@many
@given(any_match, schedules("commands", MATCHING_CASTS))
def test_events_of_several_survive_commands_edits_and_deletions(setting: Setting, steps: list[Step]) -> None:
    run(World(setting, note).play(steps))


@many
@given(any_two, schedules("stops", MATCHING_CASTS))
def test_two_topics_survive_clean_stops(setting: Setting, steps: list[Step]) -> None:
    run(World(setting, note).play(steps))


@many
@given(any_two, schedules("crashes", MATCHING_CASTS))
def test_two_topics_survive_crashes_and_takeovers(setting: Setting, steps: list[Step]) -> None:
    run(World(setting, note).play(steps))


@many
@given(any_two, schedules("commands", MATCHING_CASTS))
def test_two_topics_survive_commands_edits_and_deletions(setting: Setting, steps: list[Step]) -> None:
    run(World(setting, note).play(steps))


@many
@given(any_two_by_key, schedules("stops"))
def test_two_topics_by_key_survive_clean_stops(setting: Setting, steps: list[Step]) -> None:
    run(World(setting, note).play(steps))


@many
@given(any_two_by_key, schedules("crashes"))
def test_two_topics_by_key_survive_crashes_and_takeovers(setting: Setting, steps: list[Step]) -> None:
    run(World(setting, note).play(steps))


@many
@given(any_two_by_key, schedules("commands"))
def test_two_topics_by_key_survive_commands_edits_and_deletions(setting: Setting, steps: list[Step]) -> None:
    run(World(setting, note).play(steps))
