"""The table of the fault runs contains every count, and every run that broke a promise or could not start."""

from typing import Any

from pipeline.core.subscription import Qos
from tests.faults.faults import FAULTS
from tests.faults.table import FAMILIES, report, summary


def a_run(fault: str, seed: int, *problems: str, **counts: int) -> dict[str, Any]:
    level = {"events": 10, "lost": 0, "repeated": 0, "misordered": 0, **counts}
    return {"fault": fault, "seed": seed, "problems": list(problems), "levels": {qos.value: level for qos in Qos}}


def matching(run: dict[str, Any]) -> dict[str, Any]:
    return {**run, "routing": "match"}


def rows(text: str) -> list[list[str]]:
    table = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def test_a_row_sums_up_the_runs_of_its_fault() -> None:
    text = report([a_run("worker-killed", 2, repeated=3), a_run("worker-killed", 1, repeated=4, lost=1)])
    assert rows(text) == [["a worker: kill -9", *["1 / 7 / 0"] * 4, "80", "2", "1, 2"]]
    assert text.endswith("No run broke a promise.")


def test_a_run_that_broke_a_promise_is_listed_below_the_table() -> None:
    text = report([a_run("none", 1), a_run("none", 2, "at-least-once: 1 lost, allowed 0: t-0-7", lost=1)])
    assert rows(text)[0][-2:] == ["2, **1 broken**", "1, 2"]
    assert text.splitlines()[-1] == "- none, seed 2: at-least-once: 1 lost, allowed 0: t-0-7"


def test_a_run_that_did_not_start_is_broken() -> None:
    stuck = {"fault": "scaled", "seed": 5, "levels": {}, "problems": ["TimeoutError: after 40 s:\n not ready"]}
    text = report([stuck])
    assert rows(text) == [["workers: 1, 4, 2", *["-"] * 4, "0", "1, **1 broken**", "5"]]
    assert text.splitlines()[-1] == "- scaled, seed 5: TimeoutError: after 40 s: not ready"


def test_an_unfinished_run_counts_no_event_as_lost() -> None:
    text = report([a_run("scaled", 1, repeated=1), a_run("scaled", 2, "TimeoutError: after 180.0 s: busy", lost=9)])
    assert rows(text) == [["workers: 1, 4, 2", *["0 / 1 / 0"] * 4, "80", "2, **1 broken**", "1, 2"]]


def test_runs_with_several_faults_share_the_last_row() -> None:
    text = report([a_run("none+worker-killed", 9), a_run("scaled", 1)])
    assert [row[0] for row in rows(text)] == ["workers: 1, 4, 2", "mixtures of them, drawn by the seed"]


def test_the_summary_adds_up_the_runs_of_a_family() -> None:
    text = summary([a_run("worker-killed", 1, repeated=3), a_run("cut-off", 2, repeated=4), a_run("none+scaled", 3)])
    [workers, mixtures] = rows(text)
    assert workers[1:] == [*["0 / 7 / 0"] * 4, "80", "2"]
    assert mixtures[1:] == [*["0 / 0 / 0"] * 4, "40", "1"]


def test_the_summary_counts_runs_that_broke_a_promise() -> None:
    [row] = rows(summary([a_run("none", 1), a_run("none", 2, "at-least-once: 1 lost", lost=1)]))
    assert row[-1] == "2, **1 broken**"


def test_each_routing_has_a_table_of_its_own() -> None:
    lost = matching(a_run("scaled", 2, "auto: 1 lost, allowed 0: t-0-7 for s", lost=1))
    made = [a_run("scaled", 1), matching(a_run("none", 3)), {**a_run("none", 4), "routing": "key"}, lost]
    before, after = report(made).split("With `routing: match`")
    assert before.startswith("With `routing: key`:\n\n| fault |")
    assert [(row[0], row[-1]) for row in rows(before)] == [("no fault", "4"), ("workers: 1, 4, 2", "1")]
    assert [(row[0], row[-1]) for row in rows(after)] == [("no fault", "3"), ("workers: 1, 4, 2", "2")]
    assert after.splitlines()[-1] == "- scaled with `match`, seed 2: auto: 1 lost, allowed 0: t-0-7 for s"
    before, after = summary(made).split("With `routing: match`")
    assert [row[-1] for text in (before, after) for row in rows(text)] == ["2", "2, **1 broken**"]


def test_runs_with_several_topics_have_a_table_of_their_own() -> None:
    broken = {**matching(a_run("none", 2, "auto: 1 lost")), "topics": 2}
    text = report([matching(a_run("none", 1)), broken])
    assert "With `routing: match` and 2 source topics, counting" in text
    assert [row[-1] for row in rows(text.split("2 source topics, ")[1])] == ["2"]
    assert text.splitlines()[-1] == "- none with `match` and 2 source topics, seed 2: auto: 1 lost"


def test_a_routing_without_runs_has_no_table() -> None:
    assert "routing: key" not in report([matching(a_run("none", 1))])
    assert "routing: match" not in report([a_run("none", 1)])


def test_each_fault_belongs_to_exactly_one_family() -> None:
    assert sorted(name for names in FAMILIES.values() for name in names) == sorted([*FAULTS, "mixture"])
