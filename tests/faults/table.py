"""The table of README.md: fault by level, what was lost, repeated and misordered, from how many events and runs."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

from pipeline.model import Qos
from tests.faults.faults import FAULTS

README: Final = Path(__file__).parent / "README.md"
BEGIN: Final = "<!-- results: written by `python -m tests.faults table` -->"
END: Final = "<!-- end of results -->"
_LEVELS: Final = (Qos.AT_LEAST_ONCE, Qos.AT_MOST_ONCE, Qos.AUTO, Qos.NONE)
_COUNTS: Final = ("lost", "repeated", "misordered")


def table(lines: list[dict[str, Any]]) -> str:
    """The table, in Markdown: lost / repeated / misordered in each cell, and the seeds in the last column."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        groups[line["fault"] if line["fault"] in FAULTS else "mixture"].append(line)
    rows = [("fault", *(f"`{level}`" for level in _LEVELS), "events", "runs", "seeds")]
    rows.append(tuple("---" for _ in rows[0]))
    for name in [*FAULTS, "mixture"]:
        runs = groups.get(name)
        if runs:
            about = FAULTS[name].about if name in FAULTS else "mixtures of them, drawn by the seed"
            cells = [_cell(runs, level) for level in _LEVELS]
            seeds = ", ".join(str(seed) for seed in sorted({run["seed"] for run in runs}))
            rows.append((about, *cells, f"{sum(map(_events, runs)):,}", str(len(runs)), seeds))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(runs: list[dict[str, Any]], level: Qos) -> str:
    return " / ".join(str(sum(run["levels"][level.value][count] for run in runs)) for count in _COUNTS)


def _events(run: dict[str, Any]) -> int:
    return sum(int(level["events"]) for level in run["levels"].values())


def write(results: Path) -> None:
    """Write the table from a file of results."""
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    before, rest = README.read_text().split(BEGIN)
    README.write_text(f"{before}{BEGIN}\n\n{table(lines)}\n\n{END}{rest.split(END)[1]}")
