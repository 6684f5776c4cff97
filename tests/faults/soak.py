"""The long run: faults that the workers have to live through, and what they use meanwhile, sampled.

    memory, open files (sockets among them), the age of the oldest unsettled event, live rows of the cursor topic

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

from pipeline.errors import BrokerError
from tests.benchmarks.procfs import memory
from tests.cluster import Worker
from tests.faults.run import MIXABLE, Result, mixture
from tests.faults.stage import Brokers, Stage

EVERY_SECONDS: Final = 10.0
GROWTH: Final = 1.25
"""How much more the last third may use than the first, at the median: caches fill, and memory comes back late."""

LIVED_THROUGH: Final = [name for name in MIXABLE if not name.startswith(("worker", "rolling", "cut", "clock"))]
_OLDEST: Final = re.compile(r"^webhooks_oldest_unsettled_seconds\{[^}]*\} (\S+)$", re.MULTILINE)


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
    oldest_seconds: float


@dataclass
class Soak:
    """The samples of a run."""

    samples: list[Sample] = field(default_factory=list)
    rows: int = 0

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
                    self.rows = len(await stage.cluster.rows())
            await asyncio.sleep(EVERY_SECONDS)

    def summary(self) -> dict[str, Any]:
        """First and last third, at the median, and the most there was."""
        return {
            "samples": len(self.samples),
            "rowsAtTheEnd": self.rows,
            **{
                name: {
                    "first": statistics.median(_third(self.samples, 0, name)),
                    "last": statistics.median(_third(self.samples, 2, name)),
                    "most": max(getattr(sample, name) for sample in self.samples),
                }
                for name in ("resident_bytes", "open_files", "threads", "oldest_seconds")
            },
        }

    def problems(self) -> list[str]:
        """What is not flat."""
        found = self.summary()
        return [
            f"{name} grew from {found[name]['first']} to {found[name]['last']}"
            for name in ("resident_bytes", "open_files", "threads")
            if found[name]["last"] > GROWTH * found[name]["first"]
        ]


def _third(samples: Sequence[Sample], number: int, name: str) -> list[float]:
    size = max(1, len(samples) // 3)
    return [getattr(sample, name) for sample in samples[number * size : (number + 1) * size]]


async def _sample(worker: Worker, at: float) -> Sample:
    ages = [float(age) for age in _OLDEST.findall(await worker.text("/metrics"))]
    pid = worker.process.pid
    proc = Path("/proc", str(pid))
    return Sample(
        at=at,
        pid=pid,
        resident_bytes=memory(pid).resident_bytes,
        open_files=_entries(proc / "fd"),
        threads=_entries(proc / "task"),
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
