"""One run: the load, a fault in the middle of it, rest, and the verdict."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pipeline.model import Qos
from tests.faults.faults import FAULTS, Fault
from tests.faults.ledger import Promise, Verdict
from tests.faults.stage import Brokers, Stage, staged

BEFORE_SECONDS: Final = 3.0
AFTER_SECONDS: Final = 2.0
MIXABLE: Final = [
    name for name, fault in FAULTS.items() if name not in {"none", "scaled", "partitions-added"} and not fault.needs
]
"""What a mixture draws from: what starts from any number of workers, ends as it began, and needs nothing special."""


Watch = Callable[[Stage], Coroutine[Any, Any, None]]
"""Looks at a run until it is cancelled."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to.

    Attributes:
        fault: its name; of a mixture the names, joined by "+".
        seed: of what was drawn.
        sent: acknowledged events; *unsure*: whose acknowledgement was lost.
        problems: the promises that were broken; none is what is wanted.
    """

    fault: str
    seed: int
    seconds: float
    sent: int
    unsure: int
    verdicts: dict[Qos, Verdict]
    problems: Sequence[str]

    def line(self) -> dict[str, Any]:
        """For a file of results."""
        levels = {
            qos.value: {
                "events": verdict.events,
                "lost": verdict.lost,
                "repeated": verdict.repeated,
                "misordered": verdict.misordered,
                "deadLettered": verdict.dead_lettered,
                "givenUp": verdict.given_up,
                "p50": round(verdict.quantile(0.5), 3),
                "p99": round(verdict.quantile(0.99), 3),
            }
            for qos, verdict in self.verdicts.items()
        }
        return {
            "fault": self.fault,
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "sent": self.sent,
            "unsure": self.unsure,
            "levels": levels,
            "problems": list(self.problems),
        }


async def run(brokers: Brokers, folder: Path, fault: Fault, seed: int, *, per_second: float = 300.0) -> Result:
    """One fault in the middle of a load."""
    return await _run(brokers, folder, [fault], seed, per_second=per_second)


async def mixture(
    brokers: Brokers,
    folder: Path,
    seed: int,
    *,
    seconds: float,
    per_second: float = 300.0,
    among: Sequence[str] = MIXABLE,
    watch: Watch | None = None,
) -> Result:
    """Faults drawn by the seed from *among*, one after another, for so long; *watch* runs beside them."""
    faults = [FAULTS[name] for name in random.Random(seed).choices(among, k=10_000)]
    return await _run(brokers, folder, faults, seed, per_second=per_second, seconds=seconds, watch=watch)


async def _run(
    brokers: Brokers,
    folder: Path,
    faults: Sequence[Fault],
    seed: int,
    *,
    per_second: float,
    seconds: float | None = None,
    watch: Watch | None = None,
) -> Result:
    rng = random.Random(seed)
    began = time.monotonic()
    done: list[Fault] = []
    needs = {need for fault in faults for need in fault.needs} if seconds is None else set()
    async with (
        _dlq_brokers(brokers, folder, wanted="dlq-cluster" in needs) as dlq_brokers,
        staged(
            brokers,
            folder,
            workers=faults[0].workers if seconds is None else 2,
            per_second=per_second,
            with_tokens="tokens" in needs,
            dlq_brokers=dlq_brokers,
        ) as stage,
    ):
        load = asyncio.create_task(stage.load.run())
        watching = None if watch is None else asyncio.create_task(watch(stage))
        try:
            await stage.steady(BEFORE_SECONDS)
            for fault in faults:
                await fault.do(stage, rng)
                done.append(fault)
                if seconds is not None and time.monotonic() - began > seconds:
                    break
            await stage.steady(AFTER_SECONDS)
        finally:
            stage.load.stop()
            await load
            if watching is not None:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
        await _replace_the_dead(stage)
        await stage.settle()
        verdicts = await stage.verdicts()
        promise = _joined([fault.promise for fault in done])
        problems = [*promise.broken(verdicts), *_missing(stage, verdicts)]
        problems += [
            f"a worker ended with {code}: {worker.log}"
            for worker in stage.workers
            if (code := await worker.terminate())
        ]
    name = "+".join(fault.name for fault in done)
    return Result(name, seed, time.monotonic() - began, stage.load.sent, stage.load.unsure, verdicts, problems)


@asynccontextmanager
async def _dlq_brokers(brokers: Brokers, folder: Path, *, wanted: bool) -> AsyncIterator[Brokers | None]:
    if not wanted:
        yield None
        return
    own = brokers.another(folder / "dlq-kafka")
    await own.start(1)
    try:
        yield own
    finally:
        await own.stop()


async def _replace_the_dead(stage: Stage) -> None:
    """Whoever has left by himself is started again, as a supervisor would do it."""
    while len(stage.workers) < 2:
        await stage.cluster.start_worker()
    await stage.cluster.until_ready(*stage.workers)


def _missing(stage: Stage, verdicts: dict[Qos, Verdict]) -> list[str]:
    """The brokers themselves have to have kept what they acknowledged."""
    events = sum(verdict.events for verdict in verdicts.values())
    return (
        [] if events >= stage.load.sent else [f"the topic has {events} events of {stage.load.sent} acknowledged ones"]
    )


def _joined(promises: Sequence[Promise]) -> Promise:
    return Promise(
        is_clean=all(promise.is_clean for promise in promises),
        late_at_most_once=sum(promise.late_at_most_once for promise in promises),
    )
