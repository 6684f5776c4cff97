"""The report in Markdown: sections with tables, and the properties of the machine."""

import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

MEASURED_WITH: Final = ("faust-streaming", "aiokafka", "aiohttp", "uvloop")


@dataclass(frozen=True, slots=True)
class Section:
    """The results of one part of the benchmarks.

    Attributes:
        title: the heading of the section.
        method: one or two sentences about how the part measures.
        columns: the headings of the table's columns.
        rows: the rows of the table, as formatted text.
        findings: conclusions from the table, each a line.
    """

    title: str
    method: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    findings: Sequence[str] = ()

    def __str__(self) -> str:
        """The section in Markdown."""
        parts = [f"## {self.title}", self.method, table(self.columns, self.rows)]
        if self.findings:
            parts.append("\n".join(f"- {finding}" for finding in self.findings))
        return "\n\n".join(parts) + "\n"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table with padded columns, which is readable in a terminal. Only the first column is left-aligned."""
    lines = [list(columns), *map(list, rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    shown = ["| " + " | ".join(_cell(line[i], widths[i], i) for i in range(len(widths))) + " |" for line in lines]
    rule = "|" + "|".join("-" * (width + 2 - (place > 0)) + ":" * (place > 0) for place, width in enumerate(widths))
    return "\n".join([shown[0], rule + "|", *shown[1:]])


def _cell(text: str, width: int, place: int) -> str:
    return text.rjust(width) if place else text.ljust(width)


def machine() -> str:
    """Lines about the machine, and about the versions of Python and libraries."""
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    facts = [
        f"{os.cpu_count()} CPUs ({_cpu_model()}), {platform.system()} {platform.machine()}, load at start {load}",
        f"{platform.python_implementation()} {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in MEASURED_WITH),
        "Kafka, receiver, producer and sender share the machine: ratios of one run hold, absolute numbers don't.",
    ]
    return "\n".join(f"- {fact}" for fact in facts)


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return "model unknown"


def mebibytes(size: int) -> str:
    """Format a number of bytes in whole MiB."""
    return f"{size / 1024**2:,.0f} MiB"


def milliseconds(seconds: float) -> str:
    """Format a number of seconds in ms."""
    return f"{1000 * seconds:,.1f} ms"
