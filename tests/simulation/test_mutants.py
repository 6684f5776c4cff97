"""The simulation finds faults: each mutant is planted in the core, and has to be found within the budget.

The budget is a number of schedules. A time limit would depend on the machine's load. Its exception would be raised
inside a task, and look like a violation or be lost. An endless schedule is ended by its number of turns
(tests/support/virtual_time.py).
"""

import logging
from collections.abc import Iterator
from random import Random

import pytest

from tests.simulation.actions import Step, random_schedule
from tests.simulation.ledger import ViolationError
from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.worker import Setting
from tests.simulation.world import World
from tests.support.virtual_time import run

BUDGET = 1_000
"""The number of schedules. They are the same in each run, so a fault that is found once is always found."""

pytestmark = pytest.mark.timeout(0)


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("pipeline")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    yield
    logger.setLevel(level)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_simulation_finds_each_planted_fault(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutant.owner, mutant.function, mutant.planted())
    setting, steps = _found(mutant)
    monkeypatch.undo()
    run(World(setting).play(steps))  # the sound core passes


def _found(mutant: Mutant) -> tuple[Setting, list[Step]]:
    for number, (setting, steps) in enumerate(_schedules(mutant), start=1):
        try:
            run(World(setting).play(steps))
        except ViolationError as found:
            print(f"after {number} schedules: {found}")
            return setting, steps
    pytest.fail("no schedule shows it")


def _schedules(mutant: Mutant) -> Iterator[tuple[Setting, list[Step]]]:
    if mutant.known is not None:
        yield mutant.known.setting, mutant.known.steps
        return
    for seed in range(BUDGET):
        random = Random(seed)
        setting = mutant.setting or Setting(random.random() < 0.5, random.random() < 0.5)
        yield setting, random_schedule(random, mutant.kind, mutant.casts, mutant.only)
