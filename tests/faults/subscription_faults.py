"""Faults while subscriptions are created under load: workers are killed."""

import asyncio
import random
from collections.abc import Iterable
from typing import Final

from pipeline.core.subscription import Qos
from tests.faults.audience import Choice, in_rounds, with_key
from tests.faults.fault import Fault
from tests.faults.ledger import Promise
from tests.faults.stage import LEVEL_OF, Stage
from tests.faults.supervisor import start_workers

NEWCOMERS: Final = 200
CRASHES: Final = 12
APART_SECONDS: Final = 0.9
"""The average time between two new subscriptions, such that they are made during all of the crashes."""

BEFORE_ROUNDS: Final = 3
ROUNDS: Final = 8
"""How many rounds a new subscription's filter matches. `BEFORE_ROUNDS` of them are earlier, and must not reach it."""

LEVELS: Final = (Qos.AT_LEAST_ONCE, Qos.AT_MOST_ONCE, Qos.AT_LEAST_ONCE, Qos.AUTO)


async def newcomers(stage: Stage, rng: random.Random) -> None:
    """Two hundred subscriptions are created, one after another, while workers are killed repeatedly."""
    async with asyncio.TaskGroup() as group:
        group.create_task(_crash(stage, random.Random(rng.random())))
        group.create_task(_come(stage, random.Random(rng.random())))


async def _crash(stage: Stage, rng: random.Random) -> None:
    """Kill one worker or all workers, and start the same number."""
    for _number in range(CRASHES):
        await stage.steady(rng.uniform(0, 4))
        struck = stage.workers if rng.random() < 1 / 4 else [rng.choice(stage.workers)]
        for worker in struck:
            await worker.kill()
        await start_workers(stage, len(struck))


async def _come(stage: Stage, rng: random.Random) -> None:
    for number in range(NEWCOMERS):
        await stage.steady(rng.expovariate(1 / APART_SECONDS))
        acknowledged = _ends(stage.load.acknowledged)
        name = f"newcomer-{number}"
        await stage.subscribe(name, LEVELS[number % len(LEVELS)], _choice(stage, number, rng))
        starts = stage.subscribers[name].starts
        if early := {place: end for place, end in acknowledged.items() if starts[place[0]][place[1]] < end}:
            raise AssertionError(f"{name} begins at {starts}, although it was made after {early}")


def _choice(stage: Stage, number: int, rng: random.Random) -> Choice:
    """A filter that matches the rounds just before and after now; every fourth filter matches one key instead."""
    if number % 4 == 0:
        return with_key(rng.choice(list(LEVEL_OF)))
    return in_rounds(stage.load.due // len(LEVEL_OF) - BEFORE_ROUNDS, ROUNDS)


def _ends(webhook_ids: Iterable[str]) -> dict[tuple[str, int], int]:
    """The offset after the last of these events in each partition of each topic."""
    ends: dict[tuple[str, int], int] = {}
    for webhook_id in webhook_ids:
        topic, partition, offset = webhook_id.rsplit("-", 2)
        place = topic, int(partition)
        ends[place] = max(ends.get(place, 0), int(offset) + 1)
    return ends


SUBSCRIPTION_FAULTS: Final = (
    Fault(
        "newcomers",
        f"{NEWCOMERS} subscriptions made under load, workers: kill -9, {CRASHES} times",
        newcomers,
        Promise(interrupted=True, lost_at_most_once=CRASHES),
        {"workers", "subscriptions"},
        needs={"match"},
    ),
)
