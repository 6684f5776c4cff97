"""The long run: faults that the workers have to live through, and what they use meanwhile, sampled.

    memory, open files (sockets among them), threads, tasks, the age of the oldest unsettled event, live cursor rows

All of it has to be flat: what the last third of the run uses is compared with the first third.
"""

import asyncio
import contextlib
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from aiokafka.errors import KafkaError

from pipeline.core.errors import BrokerError
from tests.benchmarks.procfs import memory
from tests.faults.run import MIXABLE, Result, mixture
from tests.faults.stage import LEVEL_OF, Brokers, Stage
from tests.support.cluster import Worker

EVERY_SECONDS: Final = 10.0
GROWTH: Final = 1.25
"""How much more the last third may use than the first, at the median: caches fill, and memory comes back late."""
USED: Final = ("resident_bytes", "open_files", "threads", "tasks")
OLDEST_SECONDS: Final = 60.0
"""No event may stay unsettled for longer, whatever breaks: outages last for some ten seconds each."""

LIVED_THROUGH: Final = [name for name in MIXABLE if not name.startswith(("worker", "rolling", "cut", "clock"))]
_OLDEST: Final = re.compile(r"^webhooks_oldest_unsettled_seconds\{[^}]*\} (\S+)$", re.MULTILINE)
_TASKS: Final = re.compile(r"^webhooks_tasks (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Sample:
    """One worker at a time.

    Attributes:
        at: seconds since the beginning.
        oldest_seconds: the age of its oldest unsettled event.
    """

    at: float
    pid: int
    resident_bytes: int
    open_files: int
    threads: int
    tasks: int
    oldest_seconds: float


@dataclass
class Soak:
    """The samples of a run; *rows*: how many live rows the cursor topic had, each time."""

    samples: list[Sample] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)

    async def watch(self, stage: Stage) -> None:
        """Sample every worker until it is over."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            # While brokers are down there is nobody to ask, and a worker may leave in the middle of a question.
            with contextlib.suppress(BrokerError, KafkaError, OSError, TimeoutError):
                for worker in stage.workers:
                    self.samples.append(await _sample(worker, loop.time() - began))
                async with asyncio.timeout(EVERY_SECONDS):
                    self.rows.append(len(await stage.cluster.rows()))
            await asyncio.sleep(EVERY_SECONDS)

    def summary(self) -> dict[str, Any]:
        """First and last third, at the median, and the most there was."""
        series = {name: [getattr(sample, name) for sample in self.samples] for name in (*USED, "oldest_seconds")}
        series["rows"] = self.rows
        return {
            "samples": len(self.samples),
            **{
                name: {
                    "first": statistics.median(_third(values, 0)),
                    "last": statistics.median(_third(values, 2)),
                    "most": max(values),
                }
                for name, values in series.items()
            },
        }

    def problems(self) -> list[str]:
        """What is not flat."""
        found = self.summary()
        problems = [
            f"{name} grew from {found[name]['first']} to {found[name]['last']}"
            for name in USED
            if found[name]["last"] > GROWTH * found[name]["first"]
        ]
        if found["oldest_seconds"]["most"] > OLDEST_SECONDS:
            problems.append(f"an event was unsettled for {found['oldest_seconds']['most']:.0f} s")
        if found["rows"]["most"] > len(LEVEL_OF):
            problems.append(f"there were {found['rows']['most']} cursor rows for {len(LEVEL_OF)} subscriptions")
        return problems


def _third(values: Sequence[float], number: int) -> Sequence[float]:
    size = max(1, len(values) // 3)
    return values[number * size : (number + 1) * size]


async def _sample(worker: Worker, at: float) -> Sample:
    metrics = await worker.text("/metrics")
    ages = [float(age) for age in _OLDEST.findall(metrics)]
    pid = worker.process.pid
    proc = Path("/proc", str(pid))
    return Sample(
        at=at,
        pid=pid,
        resident_bytes=memory(pid).resident_bytes,
        open_files=_entries(proc / "fd"),
        threads=_entries(proc / "task"),
        tasks=sum(int(float(tasks)) for tasks in _TASKS.findall(metrics)),
        oldest_seconds=max(ages, default=0.0),
    )


def _entries(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir())


async def soak(brokers: Brokers, folder: Path, seed: int, *, seconds: float, per_second: float) -> tuple[Result, Soak]:
    """The long run, and what it used."""
    watched = Soak()
    result = await mixture(
        brokers, folder, seed, seconds=seconds, per_second=per_second, among=LIVED_THROUGH, watch=watched.watch
    )
    return result, watched
