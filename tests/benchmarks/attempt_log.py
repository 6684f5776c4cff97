"""The cost of the attempt log in each of its modes, from a full topic and at a steady 5,000 events/s."""

from statistics import median
from typing import Final, get_args

from pipeline.cluster.attempts import LogMode
from tests.benchmarks.arrivals import percentile
from tests.benchmarks.paced import Load, Paced, put_under_load
from tests.benchmarks.report import Section, milliseconds
from tests.benchmarks.scale import Scale
from tests.benchmarks.stage import BODY_BYTES, SUBSCRIPTIONS, Stage
from tests.benchmarks.throughput import Runs, measure

PER_SECOND: Final = 5_000.0
MODES: Final[tuple[LogMode, ...]] = get_args(LogMode)
OFF: Final = "off"
COLUMNS: Final = (
    "WEBHOOKS_ATTEMPT_LOG",
    "runs",
    "full topic: CPU us/delivery",
    "ratio",
    "deliveries/s",
    "5,000/s: of one core",
    "ratio",
    "p50",
    "p99",
)


async def run(stage: Stage, scale: Scale) -> Section:
    """Measure all modes in turn, so that other load on the machine affects each mode."""
    topic = await stage.filled(scale.events)
    starts = {mode: stage.pipeline(settings={"WEBHOOKS_ATTEMPT_LOG": mode}) for mode in MODES}
    full: dict[LogMode, Runs] = {mode: Runs() for mode in MODES}
    paced: dict[LogMode, list[Paced]] = {mode: [] for mode in MODES}
    load = Load(SUBSCRIPTIONS, PER_SECOND, scale.paced_seconds)
    for _ in range(scale.pairs):
        for mode, start in starts.items():
            await measure(stage, start, topic, scale.events, full[mode])
        for mode, start in starts.items():
            async with stage.receiver() as receiver:
                paced[mode].append(await put_under_load(stage, start, receiver, load))
    return Section(
        "The attempt log",
        f"{scale.events:,} events of {BODY_BYTES} B for {len(SUBSCRIPTIONS)} subscriptions from a full topic, and "
        f"{PER_SECOND:,.0f} events/s for {scale.paced_seconds:.0f} s; all modes in turns, medians. The ratios are "
        f"those to `{OFF}` in the same turn.",
        COLUMNS,
        [_row(mode, full, paced) for mode in MODES],
    )


def _row(mode: LogMode, full: dict[LogMode, Runs], paced: dict[LogMode, list[Paced]]) -> tuple[str, ...]:
    cost = [each.cpu_microseconds for each in full[mode].stretches]
    share = [each.stretch.cpu_share for each in paced[mode]]
    return (
        mode,
        str(len(cost)),
        f"{median(cost):.1f}",
        _ratio(cost, [each.cpu_microseconds for each in full[OFF].stretches]),
        f"{full[mode].middle(lambda each: each.per_second):,.0f}",
        f"{100 * median(share):.0f} %",
        _ratio(share, [each.stretch.cpu_share for each in paced[OFF]]),
        milliseconds(median(percentile(each.latencies, 0.50) for each in paced[mode])),
        milliseconds(median(percentile(each.latencies, 0.99) for each in paced[mode])),
    )


def _ratio(found: list[float], base: list[float]) -> str:
    return f"{median(each / other for each, other in zip(found, base, strict=True)):.3f}"
