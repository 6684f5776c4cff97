"""The cost of a delivery if each event is for several subscriptions, compared with a consumer group for each one."""

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from statistics import median
from typing import Any, Final
from uuid import uuid4

from tests.benchmarks.events import fill, no_type
from tests.benchmarks.processes import Child, running
from tests.benchmarks.procfs import sockets
from tests.benchmarks.receiver import Receiver, Stretch
from tests.benchmarks.report import Section, mebibytes
from tests.benchmarks.scale import Scale
from tests.benchmarks.stage import BODY_BYTES, PARTITIONS, Stage, Start

EACH: Final = 10
"""The number of subscriptions that want an event, if it is wanted by some but not all."""
ALL: Final = 100
CUSTOMERS: Final = 64
"""The number of different keys of the events. The keys name no subscriptions."""
RARE: Final = 100
"""If no subscription wants the events, one event in this many is wanted nevertheless, to show the worker's progress."""
COLUMNS: Final = ("", "runs", "deliveries", "CPU us/delivery", "CPU us/event", "peak RSS", "sockets")


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table.

    Attributes:
        events: the number of events in the topic.
        deliveries: the number of deliveries that follow from them.
        start: starts the sender.
        type_of: returns the type of an event.
        keys: the number of different keys of the events.
    """

    events: int
    deliveries: int
    start: Start
    type_of: Callable[[int, int], bytes | None] = no_type
    keys: int = CUSTOMERS


def _everything(_number: int) -> None:
    """The filter of a subscription that wants every event."""


def of_type(kinds: int) -> Callable[[int], dict[str, Any]]:
    """Return a function that makes a filter for one of *kinds* types from a subscription's number."""
    return lambda number: {"exact": {"type": f"type-{number % kinds}"}}


def types(count: int) -> Callable[[int, int], bytes]:
    """Return a function that gives events *count* types in turn."""
    return lambda number, sequence: b"type-%d" % ((sequence * CUSTOMERS + number) % count)


def _rarely(number: int, sequence: int) -> bytes:
    return b"type-0" if (sequence * CUSTOMERS + number) % RARE == 0 else b"of-nobody"


def _cases(stage: Stage, scale: Scale) -> dict[str, Case]:
    deliveries, many = scale.fanned_out, scale.registered
    some, most = range(1_000), range(many)
    lanes = len(some) * PARTITIONS  # with match, a subscription has a lane in each partition
    return {
        **{
            f"(a) match: {number} subscriptions get everything": Case(
                deliveries // number,
                deliveries // number * number,
                stage.pipeline(subscriptions=range(number), filter_of=_everything),
            )
            for number in sorted({ALL, *scale.groups})
        },
        f"(b) match: 1,000, {EACH} want an event by its type": Case(
            deliveries // EACH,
            deliveries,
            stage.pipeline(subscriptions=some, filter_of=of_type(len(some) // EACH)),
            types(len(some) // EACH),
        ),
        f"(c) match: {many:,}, {EACH} want an event by its type, 1,000 get all": Case(
            deliveries // EACH,
            deliveries,
            stage.pipeline(subscriptions=most, filter_of=of_type(many // EACH)),
            types(len(some) // EACH),
        ),
        f"(c) match: {many:,}, {EACH} want an event by its type, all in turn": Case(
            deliveries // EACH,
            deliveries,
            stage.pipeline(subscriptions=most, filter_of=of_type(many // EACH)),
            types(many // EACH),
        ),
        f"(d) match: 1,000, one event in {RARE} is wanted by one": Case(
            deliveries,
            deliveries // RARE,
            stage.pipeline(subscriptions=some, filter_of=of_type(len(some))),
            _rarely,
        ),
        f"(e) key: as many deliveries, {CUSTOMERS} subscriptions": Case(
            deliveries, deliveries, stage.pipeline(subscriptions=range(CUSTOMERS))
        ),
        "(e) key: as many deliveries, 1,000 subscriptions": Case(
            deliveries, deliveries, stage.pipeline(subscriptions=some), keys=len(some)
        ),
        f"(e) key: as many deliveries, as many lanes as (b), {lanes:,}": Case(
            deliveries,
            deliveries,
            stage.pipeline(subscriptions=range(lanes)),
            types(len(some) // EACH),  # as in (b): another header in each request costs CPU time
            keys=lanes,
        ),
        **{
            f"(f) one group for each of {number} subscriptions": Case(
                deliveries // number, deliveries // number * number, _groups(stage, number)
            )
            for number in scale.groups
        },
    }


def _groups(stage: Stage, number: int) -> Start:
    def start(topic: str, receiver: Receiver) -> AbstractAsyncContextManager[Child]:
        prefix = f"bench-{uuid4().hex[:12]}"
        arguments = (stage.broker.bootstrap, topic, prefix, receiver.url, str(number))
        return running("tests.benchmarks.groups", *arguments, log=stage.log("groups"))

    return start


def _in_turn(case: Case) -> Iterator[tuple[int, int]]:
    return ((place % case.keys, place // case.keys) for place in range(case.events))


async def run(stage: Stage, scale: Scale) -> Section:
    """Measure all cases in turn, each from a topic that is full before the clock starts."""
    cases = _cases(stage, scale)
    topics = {}
    for name, case in cases.items():
        topics[name] = topic = await stage.source()
        await fill(stage.broker, topic, _in_turn(case), BODY_BYTES, case.type_of)
    found: dict[str, list[tuple[Stretch, int]]] = {name: [] for name in cases}
    for _ in range(scale.pairs):
        for name, case in cases.items():
            found[name].append(await _measured(stage, case, topics[name]))
    costs = {name: median(stretch.cpu_microseconds for stretch, _ in runs) for name, runs in found.items()}
    by_key = next(cost for name, cost in costs.items() if name.startswith("(e)"))
    return Section(
        "Fan-out",
        f"{scale.fanned_out:,} deliveries of events of {BODY_BYTES} B from {PARTITIONS} partitions at at-least-once, "
        "from the first arrival to the last, the CPU of the sender's process alone; all in turns, medians. Events are "
        f"keyed by one of {CUSTOMERS} customers.",
        COLUMNS,
        [_row(name, cases[name], runs) for name, runs in found.items()],
        [f"{name}: {cost / by_key:.2f} x the CPU of a delivery with `key`" for name, cost in costs.items()],
    )


async def _measured(stage: Stage, case: Case, topic: str) -> tuple[Stretch, int]:
    async with stage.receiver() as receiver, case.start(topic, receiver) as sender:
        await receiver.watch(sender, case.deliveries)
        stretch = await receiver.stretch(sender, case.deliveries)
        return stretch, sockets(sender.pid)


def _row(name: str, case: Case, runs: list[tuple[Stretch, int]]) -> tuple[str, ...]:
    cost = median(stretch.cpu_microseconds for stretch, _ in runs)
    return (
        name,
        str(len(runs)),
        f"{case.deliveries:,}",
        f"{cost:.1f}",
        f"{cost * case.deliveries / case.events:.1f}",
        mebibytes(max(stretch.peak_bytes for stretch, _ in runs)),
        str(max(count for _, count in runs)),
    )
