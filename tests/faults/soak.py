"""The soak: a long run of faults that workers have to survive, with samples of the resources that they use.

    memory, open files (sockets among them), threads, tasks, the age of the oldest unsettled event, live cursor rows

All values have to be flat: the last third of the run is compared with the first third.
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
from tests.support.worker import Worker

EVERY_SECONDS: Final = 10.0
GROWTH: Final = 1.25
"""How much larger the median of the last third may be than that of the first: caches fill, and memory is freed late."""
USED: Final = ("resident_bytes", "open_files", "threads", "tasks")
OLDEST_SECONDS: Final = 60.0
"""The longest time that an event may be unsettled. Each outage lasts about ten seconds."""

LIVED_THROUGH: Final = [name for name in MIXABLE if not name.startswith(("worker", "rolling", "cut", "clock"))]
_OLDEST: Final = re.compile(r"^webhooks_oldest_unsettled_seconds\{[^}]*\} (\S+)$", re.MULTILINE)
_TASKS: Final = re.compile(r"^webhooks_tasks (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample of one worker.

    Attributes:
        at: the seconds since the beginning of the run.
        oldest_seconds: the age of the worker's oldest unsettled event.
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
    """The samples of a run. *rows* has the number of live rows in the cursor topic at each sample."""

    samples: list[Sample] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)

    async def watch(self, stage: Stage) -> None:
        """Sample every worker until cancelled."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            # While brokers are down, the rows can't be read, and a worker may end during a request.
            with contextlib.suppress(BrokerError, KafkaError, OSError, TimeoutError):
                for worker in stage.workers:
                    self.samples.append(await _sample(worker, loop.time() - began))
                async with asyncio.timeout(EVERY_SECONDS):
                    self.rows.append(len(await stage.cluster.rows()))
            await asyncio.sleep(EVERY_SECONDS)

    def summary(self) -> dict[str, Any]:
        """The medians of the first and the last third, and the largest values."""
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
        """Sentences about values that are not flat."""
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
    """Run the soak. Returns the result and the used resources."""
    watched = Soak()
    result = await mixture(
        brokers, folder, seed, seconds=seconds, per_second=per_second, among=LIVED_THROUGH, watch=watched.watch
    )
    return result, watched
