"""How much is done in each part: the numbers in full, and the smaller ones of `--quick`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """The size of a run.

    Attributes:
        pairs: how often the pipeline and the bare loop take turns.
        events: in the topic of the throughput runs.
        claimed_events: of those, how many at-most-once delivers.
        paced_seconds: how long a steady load lasts.
        slow_seconds: how long the possible rate is held.
        isolated_events: for the subscriptions whose neighbours misbehave.
        isolated_seconds: how long a steady load lasts for them.
        waiting: how many events wait for one receiver, at each of the two looks at the memory.
        waiting_per_second: how fast they are produced.
        crashed_events: in the topic when a worker is killed in the middle of them.
        fanned_out: how many deliveries are made of events that belong to several subscriptions.
        registered: how many subscriptions there are where there are many.
        groups: how many consumer groups are compared with them.
    """

    pairs: int
    events: int
    claimed_events: int
    paced_seconds: float
    slow_seconds: float
    isolated_events: int
    isolated_seconds: float
    waiting: tuple[int, int]
    waiting_per_second: float
    crashed_events: int
    fanned_out: int
    registered: int
    groups: tuple[int, ...]


FULL = Scale(
    pairs=3,
    events=150_000,
    claimed_events=10_000,
    paced_seconds=20.0,
    slow_seconds=15.0,
    isolated_events=90_000,
    isolated_seconds=10.0,
    waiting=(100_000, 1_000_000),
    waiting_per_second=10_000.0,
    crashed_events=20_000,
    fanned_out=100_000,
    registered=100_000,
    groups=(10, 100, 1_000),
)

QUICK = Scale(
    pairs=1,
    events=20_000,
    claimed_events=1_000,
    paced_seconds=5.0,
    slow_seconds=5.0,
    isolated_events=18_000,
    isolated_seconds=4.0,
    waiting=(10_000, 50_000),
    waiting_per_second=5_000.0,
    crashed_events=6_000,
    fanned_out=20_000,
    registered=10_000,
    groups=(10, 100),
)
