"""Finds out where a subscription is, as seen from one worker: here, idle, on another worker, or unknown."""

from dataclasses import dataclass
from typing import Literal

from pipeline.core.model import Status
from pipeline.core.shown import shown
from pipeline.observability.status import AbsentReport, LaneFilter, Reporter, WorkerReport


@dataclass(frozen=True, slots=True)
class Presence:
    """Where a subscription is, as seen from one worker.

    Attributes:
        where: "here": the subscription has lanes in this worker; "unknown": there is no such subscription; otherwise an
            `Absence`.
        sentence: a sentence for people that says where it is.
    """

    subscription: str
    where: Literal["here", "idle", "elsewhere", "unknown"]
    sentence: str


async def presence(reporter: Reporter, subscription: str) -> Presence:
    """Where a subscription is."""
    worker = reporter.worker()
    known = reporter.absent_one(subscription)
    lanes = await reporter.lanes(LaneFilter(subscription=subscription))
    if known is None:
        sentence = f"There is no subscription {shown(subscription)}."
        if not worker.ready:
            sentence += f" This worker may not have read it yet: {worker.problem or 'it is starting'}."
        return Presence(subscription, "unknown", sentence)
    if lanes:
        numbers: dict[str, list[int]] = {}
        for lane in lanes:
            numbers.setdefault(lane.topic, []).append(lane.partition)
        where = ", ".join(f"{_partitions(each)} of {topic}" for topic, each in numbers.items())
        return Presence(subscription, "here", f"This worker delivers it in {where}.{_others(worker, known)}")
    if known.state == "elsewhere":
        return Presence(
            subscription,
            "elsewhere",
            f"It is on another worker: Kafka's default partitioner assigns its events to partition "
            f"{known.default_partition}, and this worker has {_partitions(worker.assigned)}.",
        )
    state = "" if known.status == Status.STARTED else f" Its desired status is {known.status}."
    sentence = f"None of its events are waiting in {_its_partitions(worker)}.{_others(worker, known)}{state}"
    return Presence(subscription, "idle", sentence)


def _others(worker: WorkerReport, known: AbsentReport) -> str:
    """A sentence about other workers if the subscription may have events in their partitions."""
    if known.default_partition is not None or worker.partition_count in {None, len(worker.assigned)}:
        return ""
    return " Events in other partitions are delivered by other workers."


def _its_partitions(worker: WorkerReport) -> str:
    if worker.partition_count == len(worker.assigned):
        return "any partition; this worker has all of them"
    return f"the partitions of this worker ({_partitions(worker.assigned)})"


def _partitions(numbers: tuple[int, ...] | list[int]) -> str:
    if not numbers:
        return "no partition"
    return f"partition{'' if len(numbers) == 1 else 's'} {', '.join(map(str, numbers))}"
