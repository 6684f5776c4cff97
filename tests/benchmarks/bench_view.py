"""The cost of the view of the cluster: `python -m tests.benchmarks.bench_view [SUBSCRIPTIONS]`.

All subscriptions are in memory. A tenth of them, then all of them, have a row of a failure at one of 50 hosts. Each
question is asked five times. The table shows the slowest answer, the mean CPU time, and the longest time between two
turns of the event loop.
"""

import asyncio
import gc
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

from pipeline.cluster.announcement import Announcement, encode
from pipeline.cluster.state import PartitionState, StateFilter
from pipeline.cluster.view import ClusterView
from pipeline.core.model import Cause, Cursor, PlainEvent, Standing, Status
from pipeline.core.subscription import Routing, Subscription
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.default_partition import default_partition
from pipeline.kafka.row_format import encode as encode_row
from pipeline.kafka.topics import Source
from pipeline.subscriptions.registry import Registry

PARTITIONS = 12
TIMES = 5


class Known:
    """A fake registry. Its memory is not counted, because each worker has a registry even without a view."""

    is_current = True
    last_error = None

    def __init__(self, subscriptions: Sequence[Subscription]) -> None:
        self._found = {each.id: each for each in subscriptions}
        self._ids = tuple(sorted(self._found))

    def get(self, name: str) -> Subscription | None:
        """The subscription with this id, if there is one."""
        return self._found.get(name)

    def ids(self) -> Sequence[str]:
        """The ids of all subscriptions, sorted."""
        return self._ids

    def recreated_at(self, _name: str) -> int | None:
        """None: no subscription was deleted."""
        return None


def subscription(number: int) -> Subscription:
    """A subscription whose id, URL and metadata depend on its number."""
    return Subscription(
        id=f"subscription-{number:06}",
        revision=number,
        url=f"https://api-{number % 50}.example.com/hooks/{number}",
        metadata={"tenant": f"tenant-{number % 1000}"},
    )


def row(number: int) -> Cursor:
    """The row of a subscription in FAILURE."""
    cause = Cause("server-error", f"the callback answered 503 after {number} ms", number, 1_700_000_000.0 + number)
    return Cursor(number, Status.FAILURE, cause, standing=Standing(False, number % 90, True, number))  # noqa: FBT003


def announcement() -> Announcement:
    """The announcement of the only worker."""
    partitions = tuple(
        PartitionState("events", number, 10**6, 0, 10**6, 10**6, is_counted=True, end=10**6)
        for number in range(PARTITIONS)
    )
    now = time.time()
    return Announcement("w:1", "1", now, now, True, None, partitions, {"events": PARTITIONS}, 0, 0, 0, 0)  # noqa: FBT003


def megabytes() -> float:
    """The resident memory of this process in MiB."""
    gc.collect()
    with open("/proc/self/statm") as found:  # noqa: PTH123 - a small kernel file
        return int(found.read().split()[1]) * resource.getpagesize() / 2**20


async def longest_stall(until: asyncio.Event) -> float:
    """The longest time between two turns of the event loop, in seconds, until *until* is set."""
    longest, before = 0.0, time.perf_counter()
    while not until.is_set():
        await asyncio.sleep(0)
        now = time.perf_counter()
        longest, before = max(longest, now - before), now
    return longest


async def measure(what: str, ask: Callable[[], Awaitable[object]]) -> None:
    """Ask several times, and print the time of the slowest answer, the CPU time and the longest stall."""
    over = asyncio.Event()
    stall = asyncio.create_task(longest_stall(over))
    slowest = 0.0
    before = time.process_time()
    for _ in range(TIMES):
        began = time.perf_counter()
        await ask()
        slowest = max(slowest, time.perf_counter() - began)
    cpu = (time.process_time() - before) / TIMES
    over.set()
    print(f"{what:28} {slowest * 1000:7.1f} ms   CPU {cpu * 1000:6.1f} ms   stall {await stall * 1000:6.1f} ms")


async def look(count: int, failing: int) -> None:
    """Measure a view of *count* subscriptions, of which the first *failing* are in FAILURE."""
    print(f"\n{count:,} subscriptions, {failing:,} in FAILURE")
    subscriptions = [subscription(number) for number in range(count)]
    rows = [(each.id.encode(), encode_row(row(number))) for number, each in enumerate(subscriptions[:failing])]
    before = megabytes()
    view = ClusterView(
        "app",
        Source(KafkaConnection(("localhost:1",)), "events"),
        Routing.KEY,
        cast("Registry", Known(subscriptions)),
    )
    take_row, take_announcement = view._take_row, view._take_announcement
    began = time.process_time()
    for each in subscriptions:
        view.on_subscription(each.id, each)
    for key, value in rows:
        take_row(
            PlainEvent("c", default_partition(key.decode(), PARTITIONS), 0, key, value, timestamp=1_700_000_000_000)
        )
    take_announcement(PlainEvent("w", 0, 0, b"w:1", encode(announcement()), timestamp=int(time.time() * 1000)))
    await view.totals()
    print(f"read from the topics in {time.process_time() - began:.2f} s of CPU time")
    used = (megabytes() - before) * 2**20 / count
    print(f"memory for each subscription: {used:,.0f} bytes")
    ids = view._registry.ids()
    await measure("first page", lambda: view.states(limit=100))
    await measure("last page", lambda: view.states(after=ids[-101], limit=100))
    await measure("search: part of an id", lambda: view.states(StateFilter(text="99"), limit=100))
    await measure("search: nothing found", lambda: view.states(StateFilter(text="nowhere"), limit=100))
    await measure("search and last page", lambda: view.states(StateFilter(text="sub"), ids[-101], 100))
    await measure("filter: state", lambda: view.states(StateFilter(states=frozenset({"failure"})), limit=100))
    await measure("filter: cause", lambda: view.states(StateFilter(causes=frozenset({"server-error"})), limit=100))
    await measure("filter: host", lambda: view.states(StateFilter(host="api-7.example.com"), limit=100))
    await measure("filter: metadata", lambda: view.states(StateFilter(metadata={"tenant": "tenant-7"}), limit=100))
    await measure("failures by cause and host", view.failures)
    await measure("totals by state", view.totals)


def main() -> None:
    """Measure with a tenth of the subscriptions in FAILURE, then with all of them."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    asyncio.run(look(count, count // 10))
    asyncio.run(look(count, count))


if __name__ == "__main__":
    main()
