"""The size of each part of the benchmarks, in a full run and with `--quick`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """The size of a run.

    Attributes:
        pairs: how often each part measures the senders or cases that it compares.
        events: the number of events in the topic of the throughput runs.
        claimed_events: how many of these events at-most-once delivers.
        paced_seconds: how long a steady load lasts.
        slow_seconds: how long the run with slow receivers takes if it reaches the possible rate.
        isolated_events: the number of events for the subscriptions whose neighbours misbehave.
        isolated_seconds: how long a steady load on these subscriptions lasts.
        waiting: how many events wait for one receiver when memory is measured the first and the second time.
        waiting_per_second: how many of these events are produced per second.
        crashed_events: the number of events in the runs in which a worker is killed.
        fanned_out: the number of deliveries in the runs whose events belong to several subscriptions.
        registered: the number of subscriptions in the runs with many subscriptions.
        groups: the numbers of consumer groups that are compared with the pipeline.
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
