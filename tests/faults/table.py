"""The table of README.md: fault by level, what was lost, repeated and misordered, from how many events and runs."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from pipeline.model import Qos
from tests.faults.faults import FAULTS

README: Final = Path(__file__).parent / "README.md"
BEGIN: Final = "<!-- results: written by `python -m tests.faults table` -->"
END: Final = "<!-- end of results -->"
_LEVELS: Final = (Qos.AT_LEAST_ONCE, Qos.AT_MOST_ONCE, Qos.AUTO, Qos.NONE)
_COUNTS: Final = ("lost", "repeated", "misordered")
_PROBLEM_CHARACTERS: Final = 300

Run = dict[str, Any]
"""A line of the results."""


def report(runs: Iterable[Run]) -> str:
    """The table, in Markdown, and beneath it every promise that a run broke."""
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        groups[run["fault"] if run["fault"] in FAULTS else "mixture"].append(run)
    known = [groups[name] for name in (*FAULTS, "mixture") if name in groups]
    problems = [problem for found in known for run in found for problem in _problems(run)]
    return "\n".join([*_table(known), "", *(problems or ["No run broke a promise."])])


def _table(groups: Iterable[Sequence[Run]]) -> list[str]:
    head = ("fault", *(f"`{level}`" for level in _LEVELS), "events", "runs", "seeds")
    rows = [head, tuple("---" for _ in head), *map(_row, groups)]
    return [f"| {' | '.join(row)} |" for row in rows]


def _row(runs: Sequence[Run]) -> tuple[str, ...]:
    name = runs[0]["fault"]
    about = FAULTS[name].about if name in FAULTS else "mixtures of them, drawn by the seed"
    events = sum(int(level["events"]) for run in runs for level in run["levels"].values())
    broken = sum(1 for run in runs if run["problems"])
    count = f"{len(runs)}, **{broken} broken**" if broken else str(len(runs))
    seeds = ", ".join(str(seed) for seed in sorted({run["seed"] for run in runs}))
    return (about, *(_cell(runs, level) for level in _LEVELS), f"{events:,}", count, seeds)


def _cell(runs: Sequence[Run], level: Qos) -> str:
    # A run that did not come up has no levels; its problem says so.
    judged = [run["levels"][level.value] for run in runs if level.value in run["levels"]]
    if not judged:
        return "-"
    return " / ".join(str(sum(each[count] for each in judged)) for count in _COUNTS)


def _problems(run: Run) -> list[str]:
    return [
        f"- {run['fault']}, seed {run['seed']}: {' '.join(problem.split())[:_PROBLEM_CHARACTERS]}"
        for problem in run["problems"]
    ]


def write(results: Path) -> None:
    """Write the table from a file of results."""
    runs = [json.loads(line) for line in results.read_text().splitlines()]
    before, rest = README.read_text().split(BEGIN)
    README.write_text(f"{before}{BEGIN}\n\n{report(runs)}\n\n{END}{rest.split(END)[1]}")
