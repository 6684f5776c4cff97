"""How much subscriptions with bad receivers (hanging, failing, with names that never resolve) disturb healthy ones."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from tests.benchmarks.arrivals import percentile
from tests.benchmarks.paced import Load, put_under_load
from tests.benchmarks.receiver import HOST, Receiver
from tests.benchmarks.report import Section, milliseconds
from tests.benchmarks.scale import Scale
from tests.benchmarks.stage import Stage, Start

READ_TIMEOUT_MS: Final = 2000
PER_SECOND: Final = 10.0
"""The number of events per second for each subscription under steady load."""


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """Healthy subscriptions, and bad subscriptions on the same worker.

    Attributes:
        bad: the numbers of the subscriptions whose receivers misbehave, from 0.
        healthy: the numbers of the other subscriptions, which follow those of *bad*.
        status: the status that the bad receivers answer; 0: they do not answer.
        has_names: whether the bad subscriptions call host names whose name server never answers.
        is_there: whether the bad subscriptions have events.
    """

    bad: range
    healthy: range
    status: int = 0
    has_names: bool = False
    is_there: bool = True

    @property
    def numbers(self) -> range:
        """The numbers of the subscriptions that have events."""
        return range(self.healthy.stop) if self.is_there else self.healthy


_TEN: Final = (range(10), range(10, 100))
_FIFTY: Final = (range(50), range(50, 150))
ALONE: Final = "90, and no others"
ALONE_TOO: Final = "100, and no others"
NEIGHBOURHOODS: Final = {
    ALONE: Neighbourhood(*_TEN, is_there=False),
    "90, and 10 that hang until the timeout": Neighbourhood(*_TEN),
    "90, and 10 that always answer 503": Neighbourhood(*_TEN, status=503),
    ALONE_TOO: Neighbourhood(*_FIFTY, has_names=True, is_there=False),
    "100, and 50 names that never resolve": Neighbourhood(*_FIFTY, has_names=True),
}
COLUMNS: Final = ("healthy subscriptions", "runs", "deliveries/s", "ratio", "p50", "p99", "ratio")


@dataclass(slots=True)
class _Found:
    """The results of the healthy subscriptions in one neighbourhood."""

    rates: list[float] = field(default_factory=list)
    middles: list[float] = field(default_factory=list)
    tails: list[float] = field(default_factory=list)


async def run(stage: Stage, scale: Scale) -> Section:
    """Measure each neighbourhood in turn at at-least-once, from a full topic and then under a steady load."""
    each = scale.isolated_events // len(NEIGHBOURHOODS[ALONE].healthy)
    topics: dict[range, str] = {}
    for numbers in {there.numbers for there in NEIGHBOURHOODS.values()}:
        topics[numbers] = await stage.filled(each * len(numbers), numbers)
    found = {name: _Found() for name in NEIGHBOURHOODS}
    with _silent_name_server() as name_server:
        for _ in range(scale.pairs):
            for name, there in NEIGHBOURHOODS.items():
                start = _start(stage, there, name_server)
                found[name].rates.append(await _throughput(stage, start, topics[there.numbers], each, there))
                await _latency(stage, start, scale.isolated_seconds, there, found[name])
    return Section(
        "Isolation",
        f"{each:,} events for each healthy subscription, and as many for each that misbehaves "
        f"(timeout {READ_TIMEOUT_MS} ms, retries without end after 1 to 2 s). Deliveries/s from a full topic; from "
        f"production to arrival at {PER_SECOND:.0f} events/s for each subscription. Medians.",
        COLUMNS,
        [_row(name, found[name], found[_alone(there)]) for name, there in NEIGHBOURHOODS.items()],
    )


def _alone(there: Neighbourhood) -> str:
    """The name of the neighbourhood without bad subscriptions with which *there* is compared."""
    return ALONE_TOO if there.has_names else ALONE


@contextmanager
def _silent_name_server() -> Iterator[str]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind((HOST, 0))
        yield f"{HOST}:{bound.getsockname()[1]}"


def _start(stage: Stage, there: Neighbourhood, name_server: str) -> Start:
    names: Mapping[int, str] = {number: f"http://n{number}.example:1" for number in there.bad if there.has_names}
    return stage.pipeline(
        read_timeout_ms=READ_TIMEOUT_MS,
        subscriptions=range(there.healthy.stop),
        elsewhere=names,
        settings={"WEBHOOKS_NAME_SERVERS": name_server},
    )


async def _misbehave(receiver: Receiver, there: Neighbourhood) -> None:
    if there.is_there and not there.has_names:
        await receiver.behave(there.bad, status=there.status)


async def _throughput(stage: Stage, start: Start, topic: str, each: int, there: Neighbourhood) -> float:
    target = each * len(there.healthy)
    async with stage.receiver() as receiver:
        await _misbehave(receiver, there)
        async with start(topic, receiver) as sender:
            await receiver.watch(sender, target, lowest=there.healthy.start)
            return (await receiver.stretch(sender, target)).per_second


async def _latency(stage: Stage, start: Start, seconds: float, there: Neighbourhood, found: _Found) -> None:
    numbers = there.numbers
    load = Load(numbers, PER_SECOND * len(numbers), seconds, lowest=there.healthy.start)
    async with stage.receiver() as receiver:
        await _misbehave(receiver, there)
        paced = await put_under_load(stage, start, receiver, load)
    found.middles.append(percentile(paced.latencies, 0.50))
    found.tails.append(percentile(paced.latencies, 0.99))


def _row(name: str, found: _Found, alone: _Found) -> tuple[str, ...]:
    rate, tail = median(found.rates), median(found.tails)
    return (
        name,
        str(len(found.rates)),
        f"{rate:,.0f}",
        f"{rate / median(alone.rates):.2f}",
        milliseconds(median(found.middles)),
        milliseconds(tail),
        f"{tail / median(alone.tails):.1f}",
    )
