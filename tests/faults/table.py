"""Makes the tables of the documents: what was lost, repeated and misordered for each fault and level."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from pipeline.core.subscription import Qos, Routing
from tests.faults.faults import FAULTS

README: Final = Path(__file__).parent / "README.md"
SUMMARY: Final = Path(__file__).parents[2] / "docs" / "guarantees.md"
BEGIN: Final = "<!-- results: written by `python -m tests.faults table` -->"
END: Final = "<!-- end of results -->"

FAMILIES: Final = {
    "nothing breaks: clean stops, rolling restarts, workers that come and go, partitions added": (
        "none",
        "worker-stopped",
        "rolling-restart",
        "scaled",
        "partitions-added",
    ),
    "a worker is killed, frozen, cut off from the brokers; its clock jumps": (
        "worker-killed",
        "worker-frozen",
        "cut-off",
        "clock-jumps",
    ),
    "subscriptions are created under load while workers are killed": ("newcomers",),
    "brokers are killed, paused, restarted, or their disk is full; leaders move": (
        "broker-killed",
        "broker-paused",
        "brokers-restarted",
        "leader-moved",
        "coordinator-paused",
        "disk-full",
    ),
    "subscriptions, cursor rows or dead letters can't be read or written": (
        "registry-paused",
        "rows-refused",
        "dead-letters-refused",
        "dead-letter-cluster",
    ),
    "receivers and token endpoints are down, hang, flap, are slow, answer errors or nonsense": (
        "receiver-down",
        "receiver-hanging",
        "receiver-flapping",
        "receiver-slow",
        "receiver-failing",
        "receiver-rejecting",
        "tokens-down",
        "tokens-slow",
        "tokens-wrong",
        "tokens-refused",
    ),
    "mixtures of these faults, drawn at random": ("mixture",),
}
"""The rows of the summary. Each fault is in one of them."""
_HEADINGS: Final = {
    Routing.KEY: "With `routing: key`{}:",
    Routing.MATCH: "With `routing: match`{}, counting an event once for each subscription that it is for:",
}
_LEVELS: Final = (Qos.AT_LEAST_ONCE, Qos.AT_MOST_ONCE, Qos.AUTO, Qos.NONE)
_COUNTS: Final = ("lost", "repeated", "misordered")
_PROBLEM_CHARACTERS: Final = 300

Run = dict[str, Any]
"""A line of the results file."""


class Setting(NamedTuple):
    """The routing and the number of source topics of runs. Each setting has a table of its own."""

    routing: Routing
    topics: int

    @property
    def heading(self) -> str:
        """The line above the table of this setting."""
        return _HEADINGS[self.routing].format("" if self.topics == 1 else f" and {self.topics} source topics")

    @property
    def addition(self) -> str:
        """The words that are added to the name of a fault in the lists of problems."""
        words = [f"`{self.routing}`"] if self.routing is not Routing.KEY else []
        words += [f"{self.topics} source topics"] if self.topics > 1 else []
        return f" with {' and '.join(words)}" if words else ""


def report(runs: Sequence[Run]) -> str:
    """A table for each routing, in Markdown, followed by every promise that a run broke."""
    problems = [
        problem
        for setting in _settings(runs)
        for found in _by_fault(runs, setting).values()
        for run in found
        for problem in _problems(run)
    ]
    return "\n".join([*_tables(runs, _faults), *(problems or ["No run broke a promise."])])


def summary(runs: Sequence[Run]) -> str:
    """The tables with one row for each family of faults, without seeds."""
    return "\n".join(_tables(runs, _families)).strip()


def _tables(runs: Sequence[Run], table: Callable[[dict[str, list[Run]]], Sequence[str]]) -> list[str]:
    groups = {setting: _by_fault(runs, setting) for setting in _settings(runs)}
    return [line for setting, found in groups.items() for line in (setting.heading, "", *table(found), "")]


def _settings(runs: Iterable[Run]) -> Sequence[Setting]:
    order = list(Routing)
    return sorted({_setting(run) for run in runs}, key=lambda setting: (setting.topics, order.index(setting.routing)))


def _faults(groups: dict[str, list[Run]]) -> Sequence[str]:
    abouts = {name: fault.about for name, fault in FAULTS.items()}
    rows = [
        _row(abouts.get(name, "mixtures of them, drawn by the seed"), found, with_seeds=True)
        for name, found in groups.items()
    ]
    return _table(rows, "seeds")


def _families(groups: dict[str, list[Run]]) -> Sequence[str]:
    families = {about: [run for name in names for run in groups.get(name, ())] for about, names in FAMILIES.items()}
    return _table([_row(about, found, with_seeds=False) for about, found in families.items() if found])


def _by_fault(runs: Iterable[Run], setting: Setting) -> dict[str, list[Run]]:
    """The runs with one setting, in the order of the table."""
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        if _setting(run) == setting:
            groups[run["fault"] if run["fault"] in FAULTS else "mixture"].append(run)
    return {name: groups[name] for name in (*FAULTS, "mixture") if name in groups}


def _setting(run: Run) -> Setting:
    # Runs of old versions have no routing, because there was only one routing.
    return Setting(Routing(run.get("routing", Routing.KEY)), run.get("topics", 1))


def _table(rows: Sequence[Sequence[str]], *more: str) -> list[str]:
    head = ("fault", *(f"`{level}`" for level in _LEVELS), "events", "runs", *more)
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def _row(about: str, runs: Sequence[Run], *, with_seeds: bool) -> tuple[str, ...]:
    events = sum(int(level["events"]) for run in runs for level in run["levels"].values())
    broken = sum(1 for run in runs if run["problems"])
    count = f"{len(runs)}, **{broken} broken**" if broken else str(len(runs))
    seeds = (", ".join(str(seed) for seed in sorted({run["seed"] for run in runs})),) if with_seeds else ()
    return (about, *(_cell(runs, level) for level in _LEVELS), f"{events:,}", count, *seeds)


def _cell(runs: Sequence[Run], level: Qos) -> str:
    # A run that could not start has no levels. In a run that did not come to rest, undelivered events are not lost.
    judged = [run["levels"][level.value] for run in runs if level.value in run["levels"] and _is_at_rest(run)]
    if not judged:
        return "-"
    return " / ".join(str(sum(each[count] for each in judged)) for count in _COUNTS)


def _is_at_rest(run: Run) -> bool:
    return not any(problem.startswith("TimeoutError") for problem in run["problems"])


def _problems(run: Run) -> list[str]:
    fault = f"{run['fault']}{_setting(run).addition}"
    return [
        f"- {fault}, seed {run['seed']}: {' '.join(problem.split())[:_PROBLEM_CHARACTERS]}"
        for problem in run["problems"]
    ]


def write(results: Path) -> None:
    """Write the tables and their summary from a file of results."""
    runs = [json.loads(line) for line in results.read_text().splitlines()]
    _put(README, report(runs))
    _put(SUMMARY, summary(runs))


def _put(file: Path, text: str) -> None:
    before, rest = file.read_text().split(BEGIN)
    file.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.split(END)[1]}")
