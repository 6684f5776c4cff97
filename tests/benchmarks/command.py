"""The command line of the benchmarks: `make bench`, or `make bench ARGS='--quick --only steady --output bench.md'`.

The benchmarks assert no duration. They print ratios of measurements that were made in turn on the same machine.
"""

import argparse
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest
import uvloop

from tests.benchmarks import (
    attempt_log,
    crash,
    fan_out,
    hanging,
    isolation,
    large,
    open_pages,
    possible_rate,
    side_by_side,
    sizing,
    steady,
    throughput,
    waiting,
)
from tests.benchmarks.report import Section, machine
from tests.benchmarks.scale import FULL, QUICK, Scale
from tests.benchmarks.stage import Stage
from tests.support.brokers import TestBroker
from tests.support.containers import real_kafka

Part = Callable[[Stage, Scale], Awaitable[Section]]

PARTS: Final[dict[str, Part]] = {
    "throughput": throughput.run,
    "possible-rate": possible_rate.run,
    "steady": steady.run,
    "isolation": isolation.run,
    "waiting": waiting.run,
    "crash": crash.run,
    "fan-out": fan_out.run,
    "hanging": hanging.run,
    "attempt-log": attempt_log.run,
    "side-by-side": side_by_side.run,
    "open-pages": open_pages.run,
    "large": large.run,
    "sizing": sizing.run,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the parts that the command line names, by default all. Without a Kafka, exit with a message."""
    options = _parser().parse_args(arguments)
    scale = QUICK if options.quick else FULL
    try:
        with real_kafka() as broker, TemporaryDirectory(prefix="bench-") as folder:
            report = _Report(options.output)
            uvloop.run(_run(broker, Path(folder), options.only or list(PARTS), scale, report))
    except pytest.skip.Exception as absence:
        sys.exit(str(absence))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench", description="Measure the pipeline on a real Kafka.")
    parser.add_argument("--quick", action="store_true", help="use small numbers, only to check that the benchmarks run")
    parser.add_argument("--only", action="append", choices=PARTS, help="run this part; may be given several times")
    parser.add_argument("--output", type=Path, help="write the report to this file too, in Markdown")
    return parser


async def _run(broker: TestBroker, folder: Path, parts: Sequence[str], scale: Scale, report: "_Report") -> None:
    report.add(f"# Benchmarks\n\n{machine()}\n")
    for part in parts:
        async with Stage(broker, folder) as stage:
            section = await PARTS[part](stage, scale)
        report.add(str(section))


class _Report:
    """A report that is printed and written after each part, so that a part that fails loses no earlier results."""

    def __init__(self, output: Path | None) -> None:
        self._output = output
        self._text = ""

    def add(self, text: str) -> None:
        print(text, flush=True)
        self._text += f"{text}\n"
        if self._output is not None:
            self._output.write_text(self._text, "utf-8")
