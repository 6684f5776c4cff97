"""Exports the metrics of a worker to Prometheus. They are built from `Telemetry` and `Reporter` at each scrape.

Dashboards depend on the names and labels of metrics. Names contain the unit, as Prometheus recommends
(https://prometheus.io/docs/practices/naming/).
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from platform import python_version
from typing import Final, get_args

from prometheus_client import PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from pipeline.core.lane_state import Feed, LaneState
from pipeline.observability.status import LaneReport, PartitionReport, Reporter, WorkerReport
from pipeline.observability.telemetry import Telemetry

BUILD: Final = (version("webhook-pipeline"), python_version())
"""The versions of the pipeline and of Python. They are read once, because the pipeline's version is on disk."""


class Metrics:
    """The content of `/metrics`: metrics of this worker and its process."""

    def __init__(self, reporter: Reporter, telemetry: Telemetry) -> None:
        self._reporter = reporter
        self._telemetry = telemetry
        self._process = (ProcessCollector(registry=None), PlatformCollector(registry=None))

    async def render(self, accept: str) -> tuple[bytes, str]:
        """The metrics as text and their media type, which the request's `Accept` header *accept* selects.

        Live objects are read on the event loop. A thread reads /proc and writes the text.
        """
        lanes = await self._reporter.lanes()
        families = [*worker_families(self._reporter.worker(), lanes, self._telemetry), _tasks()]
        return await asyncio.to_thread(self._encode, families, accept)

    def _encode(self, families: Sequence[Metric], accept: str) -> tuple[bytes, str]:
        encode, media_type = choose_encoder(accept)
        return encode(Scrape(families, self._process)), media_type


class Scrape(Collector):
    """The metric families of one scrape, followed by the families of other collectors."""

    def __init__(self, families: Sequence[Metric], others: Iterable[Collector]) -> None:
        self._families = families
        self._others = others

    def collect(self) -> Iterator[Metric]:
        """All families."""
        yield from self._families
        for other in self._others:
            yield from other.collect()


def worker_families(report: WorkerReport, lanes: Iterable[LaneReport], telemetry: Telemetry) -> Iterator[Metric]:
    """The current metric families of one worker."""
    yield from _counters(telemetry)
    yield from _latencies(telemetry)
    yield from _worker(report, telemetry)
    yield from _partitions(report.partitions)
    yield from _lanes(lanes, report.partitions)


def _tasks() -> Metric:
    return GaugeMetricFamily("webhooks_tasks", "Tasks of the event loop.", len(asyncio.all_tasks()))


def _counters(telemetry: Telemetry) -> Iterator[Metric]:
    yield _by_label(
        "webhooks_deliveries",
        "Events that are done; filtered: excluded by the subscription's filter; unmatched: no subscription matched.",
        "outcome",
        telemetry.deliveries.items(),
    )
    yield _by_label("webhooks_attempts", "Finished requests to callbacks.", "outcome", telemetry.attempts.items())
    yield _by_label(
        "webhooks_answers",
        "Answers of callbacks by class of HTTP status; none: no answer.",
        "status",
        telemetry.answers().items(),
    )
    yield _by_label(
        "webhooks_throttled",
        "Attempts that had to wait; rate: for the subscription's rate limit; slots: for another request to end.",
        "reason",
        telemetry.throttles.items(),
    )
    yield _by_label(
        "webhooks_dropped",
        "Events dropped without a dead letter. For retention: the offsets that Kafka deleted before delivery, each "
        "counted once; there may be fewer events than offsets.",
        "rule",
        telemetry.drops.items(),
    )
    yield _by_label(
        "webhooks_log_breaks",
        "Stored positions that are no longer in the log, by cause.",
        "kind",
        telemetry.log_breaks.items(),
    )
    yield _by_label(
        "webhooks_dead_letters", "Dead letters that the broker confirmed.", "reason", telemetry.dead_letters.items()
    )
    yield _by_label("webhooks_token_fetches", "Requests to token endpoints.", "result", telemetry.token_fetches.items())
    yield _by_label(
        "webhooks_subscription_failures",
        "Lanes that went into FAILURE. A lane is one subscription in one partition.",
        "kind",
        telemetry.subscription_failures.items(),
    )
    yield _by_label(
        "webhooks_probes",
        "Probes of subscriptions in FAILURE; recovered: the probe ended the FAILURE.",
        "result",
        telemetry.probes.items(),
    )
    for name, help_text, value in (
        (
            "webhooks_dead_letter_failures",
            "Failed writes of dead letters, which are retried.",
            telemetry.dead_letter_failures,
        ),
        (
            "webhooks_attempt_log_dropped",
            "Entries missing from the attempt log because it could not be written.",
            telemetry.attempt_log_drops,
        ),
        (
            "webhooks_notifications_dropped",
            "Notifications that were dropped, by the outlet that dropped them.",
            telemetry.notifications_dropped,
        ),
        ("webhooks_spans_dropped", "Spans that did not reach a collector.", telemetry.spans_dropped()),
        (
            "webhooks_headers_left_out",
            "Headers of records and subscriptions that were not sent.",
            telemetry.headers_left_out,
        ),
        ("webhooks_cursor_rows", "Cursor rows written.", telemetry.rows),
        (
            "webhooks_withheld",
            "Attempts that had to wait for the group to confirm a heartbeat.",
            telemetry.withheld_attempts,
        ),
        ("webhooks_commits", "Offset commits.", telemetry.commits),
        ("webhooks_rebalances", "Changes of the assignment.", telemetry.rebalances),
        ("webhooks_partitions_lost", "Partitions whose cursor rows Kafka has fenced.", telemetry.partitions_lost),
    ):
        yield CounterMetricFamily(name, help_text, value=value)


def _latencies(telemetry: Telemetry) -> Iterator[Metric]:
    for name, help_text, observed in (
        ("webhooks_attempt_seconds", "Duration of requests to callbacks.", telemetry.attempt_seconds),
        (
            "webhooks_end_to_end_seconds",
            "Time from the timestamp of an event to its delivery.",
            telemetry.end_to_end_seconds,
        ),
    ):
        yield HistogramMetricFamily(name, help_text, buckets=observed.cumulative(), sum_value=observed.total)


def _worker(report: WorkerReport, telemetry: Telemetry) -> Iterator[Metric]:
    yield _gauge(
        "webhooks_build_info",
        "The version of this worker; always 1.",
        ("version", "python"),
        [(BUILD, 1)],
    )
    for name, help_text, value in (
        ("webhooks_ready", "1 while the worker delivers from every assigned partition.", float(report.ready)),
        (
            "webhooks_lease_held",
            "1 while events may be sent: the group has recently confirmed a heartbeat.",
            float(report.holds_lease),
        ),
        ("webhooks_in_flight", "Requests to callbacks under way.", telemetry.in_flight),
        ("webhooks_subscriptions", "Known subscriptions.", report.subscriptions),
        ("webhooks_queued_events", "Events in memory.", report.queued_events),
        ("webhooks_queued_bytes", "Bytes of the events in memory.", report.queued_bytes),
        ("webhooks_assigned_partitions", "Partitions of this worker.", len(report.assigned)),
    ):
        yield GaugeMetricFamily(name, help_text, value=value)


def _partitions(partitions: Iterable[PartitionReport]) -> Iterator[Metric]:
    partitions = list(partitions)
    for name, help_text, attribute in (
        ("webhooks_partition_open", "1 while the partition accepts events.", "is_open"),
        ("webhooks_committed_offset", "The group's committed offset.", "committed"),
        ("webhooks_dispatched_offset", "The next offset to be dispatched.", "dispatched"),
        ("webhooks_end_offset", "The end of the log.", "end"),
        ("webhooks_unsettled_events", "Events dispatched and not settled.", "unsettled"),
        (
            "webhooks_oldest_unsettled_seconds",
            "Age of the oldest waiting event, including lanes that are behind or failed.",
            "oldest_unsettled_seconds",
        ),
    ):
        family = GaugeMetricFamily(name, help_text, labels=("topic", "partition"))
        for partition in partitions:
            value = getattr(partition, attribute)
            if value is not None:
                family.add_metric((partition.topic, str(partition.partition)), float(value))
        yield family


def _lanes(lanes: Iterable[LaneReport], partitions: Iterable[PartitionReport]) -> Iterator[Metric]:
    dispatched = {(each.topic, each.partition): each.dispatched or 0 for each in partitions}
    # Every series exists from the start, so that alerts see its first increase.
    numbers: Counter[tuple[str, str]] = Counter({(state.feed, state.status.value): 0 for state in LaneState})
    zeros = {(topic, str(number), feed): 0 for topic, number in dispatched for feed in get_args(Feed)}
    known: Counter[tuple[str, str, str]] = Counter(zeros)
    at_most: Counter[tuple[str, str, str]] = Counter(zeros)
    in_flight: Counter[tuple[str, str, str]] = Counter()
    furthest: dict[tuple[str, str, str], int] = {}
    for lane in lanes:
        numbers[lane.state, lane.status] += 1
        if (lane.topic, lane.partition) in dispatched:
            key = (lane.topic, str(lane.partition), lane.state)
            known[key] += lane.queued + lane.in_flight if lane.waiting is None else lane.waiting
            at_most[key] += lane.waiting_at_most
            in_flight[key] += lane.in_flight
            furthest[key] = max(furthest.get(key, 0), dispatched[lane.topic, lane.partition] - lane.next)
    yield _gauge(
        "webhooks_lanes", "Subscriptions per partition, by state and status.", ("state", "status"), numbers.items()
    )
    yield _gauge(
        "webhooks_events_waiting",
        "Unsettled events that have been counted.",
        ("topic", "partition", "state"),
        known.items(),
    )
    yield _gauge(
        "webhooks_events_waiting_at_most",
        "An upper bound of the unsettled events.",
        ("topic", "partition", "state"),
        # Unsettled events have different offsets, all at or after the lowest cursor, except for claimed events in
        # flight.
        ((key, min(number, furthest.get(key, 0) + in_flight[key])) for key, number in at_most.items()),
    )


def _by_label(name: str, help_text: str, label: str, counts: Iterable[tuple[str, int]]) -> Metric:
    family = CounterMetricFamily(name, help_text, labels=(label,))
    for value, count in counts:
        family.add_metric((value,), count)
    return family


def _gauge(name: str, help_text: str, labels: tuple[str, ...], values: Iterable[tuple[tuple[str, ...], int]]) -> Metric:
    family = GaugeMetricFamily(name, help_text, labels=labels)
    for label_values, value in sorted(values):
        family.add_metric(label_values, value)
    return family
