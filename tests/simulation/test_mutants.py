"""The simulation finds faults: each of these is planted in the core, and has to be found within the budget."""

import logging
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.simulation.actions import Step, schedules
from tests.simulation.ledger import ViolationError
from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.worker import Setting
from tests.simulation.world import World
from tests.support.virtual_time import run

BUDGET = 2_000
"""Schedules; most faults take fewer than a hundred."""

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("pipeline")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    yield
    logger.setLevel(level)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_simulation_finds(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutant.owner, mutant.function, mutant.planted())
    if mutant.known is not None:
        with pytest.raises(ViolationError):
            run(World(mutant.known.setting).play(mutant.known.steps))
        return
    tried = 0

    @settings(
        max_examples=BUDGET,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        st.just(mutant.setting) if mutant.setting else st.builds(Setting, st.booleans(), st.booleans()),
        schedules(mutant.kind, mutant.casts, mutant.only),
    )
    def simulate(setting: Setting, steps: list[Step]) -> None:
        nonlocal tried
        tried += 1
        run(World(setting).play(steps))

    with pytest.raises(ViolationError) as found:
        simulate()
    print(f"after {tried} schedules: {found.value}")
