"""One run: the load with a fault in the middle of it, then rest, then the verdict."""

import asyncio
import random
import signal
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pipeline.core.subscription import Qos, Routing
from tests.faults.disk import small_disk
from tests.faults.evidence import Evidence
from tests.faults.fault import CLEAN, Fault
from tests.faults.faults import FAULTS
from tests.faults.ledger import NAMED, Verdict, judge, strangers
from tests.faults.load import share, too_little
from tests.faults.stage import Brokers, Stage, staged
from tests.faults.supervisor import left_by_themselves, start_workers

BEFORE_SECONDS: Final = 3.0
AFTER_SECONDS: Final = 2.0
PAIRED: Final = 0.5
"""The share of steps of a mixture with two faults at a time, if the faults affect different parts."""

MIXABLE: Final = [
    name for name, fault in FAULTS.items() if name not in {"none", "scaled", "partitions-added"} and not fault.needs
]
"""The faults that a mixture may have: they allow any number of workers, restore the initial state, and need nothing."""


Watch = Callable[[Stage], Coroutine[Any, Any, None]]
"""Observes a run until it is cancelled."""


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a run.

    Attributes:
        fault: the name of the fault; for a mixture, all names joined by "+".
        seed: the seed of the random choices.
        routing: the routing of the definition.
        topics: the number of source topics.
        due: the number of events that the rate of the load required.
        sent: the number of events that the brokers have acknowledged.
        unsure: the number of events whose acknowledgement did not arrive.
        left: the number of workers that ended by themselves, and that their supervisor started again.
        problems: a sentence for each broken promise, and one if too little of the load was acknowledged; empty if all
            went well.
    """

    fault: str
    seed: int
    seconds: float
    due: int
    sent: int
    unsure: int
    left: int
    verdicts: dict[Qos, Verdict]
    problems: Sequence[str]
    routing: Routing = Routing.KEY
    topics: int = 1

    def line(self) -> dict[str, Any]:
        """The result as a line of a file."""
        levels = {
            qos.value: {
                "events": verdict.events,
                "lost": verdict.lost,
                "repeated": verdict.repeated,
                "misordered": verdict.misordered,
                "altered": verdict.altered,
                "deadLettered": verdict.dead_lettered,
                "givenUp": verdict.given_up,
                "p50": round(verdict.quantile(0.5), 3),
                "p99": round(verdict.quantile(0.99), 3),
            }
            for qos, verdict in self.verdicts.items()
        }
        return {
            "fault": self.fault,
            "routing": self.routing.value,
            "topics": self.topics,
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "due": self.due,
            "sent": self.sent,
            "unsure": self.unsure,
            "counted": round(share(self.sent, self.due), 3),
            "left": self.left,
            "levels": levels,
            "problems": list(self.problems),
        }


async def run(
    brokers: Brokers,
    folder: Path,
    fault: Fault,
    seed: int,
    routing: Routing = Routing.KEY,
    *,
    topics: int = 1,
    per_second: float | None,
) -> Result:
    """Run one fault in the middle of a load of *per_second* events, by default the rate of the routing."""
    return await _run(brokers, folder, [fault], seed, routing, topics=topics, per_second=per_second)


async def mixture(
    brokers: Brokers,
    folder: Path,
    seed: int,
    routing: Routing = Routing.KEY,
    *,
    seconds: float,
    topics: int = 1,
    per_second: float | None = None,
    among: Sequence[str] = MIXABLE,
    watch: Watch | None = None,
) -> Result:
    """Run faults that the seed selects from *among*, one or two at a time, for *seconds*, together with *watch*."""
    faults = [FAULTS[name] for name in random.Random(seed).choices(among, k=10_000)]
    return await _run(
        brokers, folder, faults, seed, routing, topics=topics, per_second=per_second, seconds=seconds, watch=watch
    )


async def _run(
    brokers: Brokers,
    folder: Path,
    faults: Sequence[Fault],
    seed: int,
    routing: Routing,
    *,
    topics: int,
    per_second: float | None,
    seconds: float | None = None,
    watch: Watch | None = None,
) -> Result:
    rng = random.Random(seed)
    began = time.monotonic()
    done: list[Fault] = []
    needs = {need for fault in faults for need in fault.needs} if seconds is None else set()
    async with (
        _dlq_brokers(brokers, folder, wanted="dlq-cluster" in needs) as dlq_brokers,
        _on_a_disk(brokers, folder, small="tmpfs" in needs) as source_brokers,
        staged(
            source_brokers,
            folder,
            workers=faults[0].workers if seconds is None else 2,
            routing=routing,
            topics=topics,
            per_second=per_second,
            with_tokens="tokens" in needs,
            dlq_brokers=dlq_brokers,
            programs=faults[0].programs,
        ) as stage,
    ):
        problems: list[str] = []
        try:
            async with _loaded(stage, watch):
                for together in _together(faults, rng, paired=seconds is not None):
                    done += together
                    await _do(stage, together, rng)
                    if seconds is not None and time.monotonic() - began > seconds:
                        break
        except Exception as error:  # noqa: BLE001 - the verdict on the events is needed whatever happens
            problems += _said(error)
            await _mend(stage)
        try:
            await start_workers(stage, max(0, 2 - len(stage.workers)))
            await stage.settle()
        except (AssertionError, TimeoutError) as error:
            problems += _said(error)
        evidence = await stage.evidence()
        level_of = {name: subscriber.level for name, subscriber in stage.subscribers.items()}
        verdicts = judge(evidence.events, evidence.calls, evidence.letters, level_of)
        promise = sum((fault.promise for fault in done), start=CLEAN)
        load = stage.load
        problems += [*promise.broken(verdicts), *_missing(stage, evidence), *too_little(load.sent, load.due)]
        _keep(folder / "evidence.txt", evidence, verdicts)
        left = len(left_by_themselves(stage))
        problems += [
            f"a worker ended with {code}: {worker.log}"
            for worker in stage.workers
            if (code := await worker.terminate())
        ]
    name = "+".join(fault.name for fault in done)
    seconds = time.monotonic() - began
    return Result(name, seed, seconds, load.due, load.sent, load.unsure, left, verdicts, problems, routing, topics)


@asynccontextmanager
async def _loaded(stage: Stage, watch: Watch | None) -> AsyncIterator[None]:
    """Run the load from some time before the block until some time after it, with *watch*."""
    load = asyncio.create_task(stage.load.run())
    watching = None if watch is None else asyncio.create_task(watch(stage))
    try:
        await stage.steady(BEFORE_SECONDS)
        yield
        await stage.steady(AFTER_SECONDS)
    finally:
        stage.load.stop()
        await load
        if watching is not None:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


def _together(faults: Sequence[Fault], rng: random.Random, *, paired: bool) -> Iterator[Sequence[Fault]]:
    """The faults one by one. If *paired*, two neighbours that affect different parts are sometimes one group."""
    remaining = deque(faults)
    while remaining:
        together = [remaining.popleft()]
        if paired and remaining and rng.random() < PAIRED and not together[0].touches & remaining[0].touches:
            together.append(remaining.popleft())
        yield together


async def _do(stage: Stage, together: Sequence[Fault], rng: random.Random) -> None:
    async with asyncio.TaskGroup() as group:
        for fault in together:
            # Each fault has its own random generator, because the order in which faults use it is not fixed.
            group.create_task(fault.do(stage, random.Random(rng.random())))


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


@asynccontextmanager
async def _on_a_disk(brokers: Brokers, folder: Path, *, small: bool) -> AsyncIterator[Brokers]:
    """The brokers, or the same number of other brokers with a small disk."""
    if not small:
        yield brokers
        return
    disk = folder / "disk"
    async with small_disk(disk):
        own = brokers.another(disk / "kafka")
        await own.start(len(brokers.ports))
        try:
            yield own
        finally:
            await own.stop()


async def _mend(stage: Stage) -> None:
    """Restore the normal state, whatever the fault has left."""
    await stage.brokers.mend()
    await stage.receiver.behave(name="ok")
    await stage.receiver.behave(tokens="ok")
    for worker in stage.workers:
        worker.send_signal(signal.SIGCONT)


def _said(error: BaseException) -> list[str]:
    if isinstance(error, BaseExceptionGroup):
        return [said for each in error.exceptions for said in _said(each)]
    return [f"{type(error).__name__}: {error}"]


def _missing(stage: Stage, evidence: Evidence) -> list[str]:
    """Problems that belong to no level: events that the brokers lost, and calls and dead letters without an event."""
    problems = []
    if gone := stage.load.acknowledged - {event.key for event in evidence.events}:
        problems.append(f"{len(gone)} acknowledged events are not in the topic: {', '.join(sorted(gone)[:NAMED])}")
    if unknown := strangers(evidence.events, evidence.calls, evidence.letters):
        named = ", ".join(map(str, unknown[:NAMED]))
        problems.append(f"{len(unknown)} calls and dead letters are of no event, or not for them: {named}")
    return problems


def _keep(file: Path, evidence: Evidence, verdicts: Mapping[Qos, Verdict]) -> None:
    """Write all calls of the events that the verdicts name to a file."""
    lines = [
        f"{level} {name} {delivery}: {call.at:.3f} attempt {call.attempt} status {call.status}\n"
        for level, verdict in verdicts.items()
        for name, deliveries in verdict.examples.items()
        for delivery in deliveries
        for call in evidence.calls
        if call.delivery == delivery
    ]
    file.write_text("".join(lines))
