"""Samples the last 15 minutes: the rates of the whole cluster, and the durations of this worker's attempts."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.cluster.state import WorkerState
from pipeline.observability.telemetry import Telemetry
from pipeline.web.pages.formats import duration, rate
from pipeline.web.pages.plots import Plot, plot

EVERY_SECONDS: Final = 10.0
"""The interval of samples. The rates in a worker's announcement cover the same length of time."""
SAMPLES: Final = 91
"""The number of samples in 15 minutes, including both ends."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What happened since the previous sample.

    Attributes:
        delivered, failed: attempts per second of all workers; None while unknown.
        median, slowest: the 50th and 95th percentile of the durations of this worker's attempts, in seconds, as exact
            as the buckets of the histogram; None without attempts.
    """

    delivered: float | None
    failed: float | None
    median: float | None
    slowest: float | None


class RateHistory:
    """Takes a sample every ten seconds, and keeps the samples of 15 minutes.

    Args:
        workers: returns all workers; None while they are unknown.
        telemetry: the counters of this worker; None: this process delivers nothing.
    """

    def __init__(self, workers: Callable[[], Sequence[WorkerState] | None], telemetry: Telemetry | None) -> None:
        self._workers = workers
        self._telemetry = telemetry
        self._samples: deque[Sample] = deque(maxlen=SAMPLES)
        self._former = self._counts()

    async def run(self) -> None:
        """Take samples until cancelled."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            self.take()

    def take(self) -> None:
        """Take a sample."""
        workers = self._workers()
        present = None if workers is None else [each for each in workers if not each.is_gone]
        counts = self._counts()
        since = [(bound, count - before) for (bound, count), (_, before) in zip(counts, self._former, strict=True)]
        self._former = counts
        self._samples.append(
            Sample(
                None if present is None else sum(each.delivered_per_second for each in present),
                None if present is None else sum(each.failed_per_second for each in present),
                quantile(since, 0.5),
                quantile(since, 0.95),
            )
        )

    def plots(self) -> list[Plot]:
        """The plots of the overview."""
        kept = list(self._samples)
        delivered = ("delivered", "good", [each.delivered for each in kept])
        failed = ("failed", "bad", [each.failed for each in kept])
        rates = plot("Attempts per second, all workers", [delivered, failed], rate, SAMPLES)
        if self._telemetry is None:
            return [rates]
        median = ("median", "plain", [each.median for each in kept])
        slowest = ("95 % below", "slow", [each.slowest for each in kept])
        return [rates, plot("Time of an attempt, this worker", [median, slowest], duration, SAMPLES, least=0.01)]

    def _counts(self) -> list[tuple[str, int]]:
        return [("+Inf", 0)] if self._telemetry is None else self._telemetry.attempt_seconds.cumulative()


def quantile(cumulative: Sequence[tuple[str, int]], share: float) -> float | None:
    """The quantile *share* of the observations, interpolated within its bucket; None without observations."""
    total = cumulative[-1][1]
    if not total:
        return None
    wanted, lower, before = share * total, 0.0, 0
    for label, count in cumulative:
        if label == "+Inf":
            break
        upper = float(label)
        if count >= wanted:
            return lower + (upper - lower) * (wanted - before) / (count - before)
        lower, before = upper, count
    return lower  # in the last bucket, which has no upper bound
