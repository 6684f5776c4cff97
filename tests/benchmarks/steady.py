"""A steady load of 1,000 events/s: CPU time and latencies of the pipeline, compared with the bare loop."""

from statistics import median
from typing import Final

from tests.benchmarks.arrivals import percentile
from tests.benchmarks.paced import Load, Paced, put_under_load
from tests.benchmarks.report import Section, milliseconds
from tests.benchmarks.scale import Scale
from tests.benchmarks.stage import BODY_BYTES, IN_FLIGHT, SUBSCRIPTIONS, Stage, Start

PER_SECOND: Final = 1000.0
COLUMNS: Final = ("sender", "runs", "of one core", "p50", "p99")


async def run(stage: Stage, scale: Scale) -> Section:
    """Measure the pipeline at at-least-once and the bare loop in turn."""
    rivals: dict[str, Start] = {
        "pipeline, at-least-once": stage.pipeline(),
        f"bare loop, {IN_FLIGHT} in flight": stage.bare_loop,
    }
    load = Load(SUBSCRIPTIONS, PER_SECOND, scale.paced_seconds)
    runs: dict[str, list[Paced]] = {name: [] for name in rivals}
    for _ in range(scale.pairs):
        for name, start in rivals.items():
            async with stage.receiver() as receiver:
                runs[name].append(await put_under_load(stage, start, receiver, load))
    return Section(
        "A steady load",
        f"{PER_SECOND:,.0f} events/s of {BODY_BYTES} B for {len(SUBSCRIPTIONS)} subscriptions, one by one, for "
        f"{scale.paced_seconds:.0f} s; from production to arrival, medians of the runs.",
        COLUMNS,
        [_row(name, found) for name, found in runs.items()],
    )


def _row(name: str, runs: list[Paced]) -> tuple[str, ...]:
    return (
        name,
        str(len(runs)),
        f"{100 * median(each.stretch.cpu_share for each in runs):.0f} %",
        milliseconds(median(percentile(each.latencies, 0.50) for each in runs)),
        milliseconds(median(percentile(each.latencies, 0.99) for each in runs)),
    )
