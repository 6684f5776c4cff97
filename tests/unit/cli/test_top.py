"""The output of `webhooks top` and `webhooks tail`."""

from dataclasses import replace
from typing import Any

import pytest

from pipeline.cli.tail import Chosen, line
from pipeline.cli.top import Top
from pipeline.cluster.attempts import Result, Results
from pipeline.cluster.state import SubscriptionState, WorkerState

NOW = 10_000.0


def worker(name: str, **facts: Any) -> WorkerState:
    known = {"version": "1", "started_at": NOW - 90, "seen_at": NOW, "is_gone": False, "ready": True, "problem": None}
    rates = {"delivered_per_second": 12.0, "failed_per_second": 0.5, "queued": 2, "in_flight": 1, "partitions": ()}
    return WorkerState(**{"name": name, **known, **rates, **facts})


TOP = Top(
    NOW,
    [worker("a:6066"), worker("b:6066", is_gone=True)],
    {"live": 3, "failure": 1, "paused": 0},
    [SubscriptionState("sub-1", "failure", 1, "c:80", "auto", waiting=7, waiting_at_most=7)],
    2,
    ["something is unknown"],
)


def test_the_screen_has_workers_and_waiting_subscriptions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert TOP.as_text().splitlines() == [
        "1970-01-01T02:46:40Z  12.0 delivered/s, 0.5 failed attempts/s",
        "subscriptions: 3 live, 1 failure",
        "",
        "WORKER  STATE  PARTITIONS  DELIVERED/S  FAILED/S  IN MEMORY  IN FLIGHT  UP",
        "a:6066  ready  0           12.0         0.5       2          1          1m",
        "b:6066  gone   -           -            -         -          -          -",
        "",
        "ID     STATE    WAITING  OLDEST  HOST  WHY",
        "sub-1  failure  7        -       c:80  -",
        "and 2 more: webhooks subscriptions list",
        "",
        "something is unknown",
    ]


def test_the_reason_of_a_worker_that_is_not_ready_is_shown() -> None:
    late = worker("c:6066", ready=False, problem="the group is rebalancing", warnings=("orders 0 was truncated",))
    text = replace(TOP, workers=[late, worker("d:6066", ready=False), worker("e:6066", is_gone=True)]).as_text()
    assert text.splitlines()[-4:] == [
        "something is unknown",
        "worker c:6066 is not ready: the group is rebalancing",
        "worker c:6066: orders 0 was truncated",
        "worker d:6066 is not ready: it is starting",
    ]


def test_it_is_said_that_no_worker_runs() -> None:
    alone, unheard = "no worker runs: start workers", replace(TOP, workers=[])
    assert replace(unheard, problems=[]).as_text().splitlines()[-1] == alone
    assert alone not in unheard.as_text(), "what is unknown may be the workers"
    assert alone not in TOP.as_text()


def test_the_json_output_counts_only_present_workers() -> None:
    found = TOP.as_document()
    assert (found["deliveredPerSecond"], found["failedPerSecond"], found["more"]) == (12.0, 0.5, 2)
    assert [each["name"] for each in found["workers"]] == ["a:6066", "b:6066"]
    assert (found["subscriptions"][0]["id"], found["subscriptions"][0]["waiting"]) == ("sub-1", 7)


RECORD = Results(
    "w",
    "events",
    0,
    60.0,
    delivered=[("s", "c:80", 1, 200, [7], [12])],
    entries=[
        Result("s", 8, 50.0, "retry", attempt=2, host="c:80", status=503, error="busy\x1b[2J"),
        Result("t", 9, 55.0, "retry", attempt=1, status=500),
    ],
)


@pytest.mark.parametrize(
    ("chosen", "offsets"),
    [
        (Chosen(None, 0.0, leaves_deliveries_out=False), [8, 9, 7]),
        (Chosen("s", 0.0, leaves_deliveries_out=False), [8, 7]),
        (Chosen("s", 0.0, leaves_deliveries_out=True), [8]),
        (Chosen(None, 55.0, leaves_deliveries_out=False), [9, 7]),
        (Chosen("nobody", 0.0, leaves_deliveries_out=False), []),
    ],
)
def test_options_select_which_attempts_are_shown(chosen: Chosen, offsets: list[int]) -> None:
    assert [entry.result.offset for entry in chosen.of(RECORD)] == offsets


def test_each_attempt_is_printed_on_one_line() -> None:
    failed, _, delivered = Chosen(None, 0.0, leaves_deliveries_out=False).of(RECORD)
    assert line(failed) == r"1970-01-01T00:00:50.000Z  s  events-0-8  2  retry  503  -  c:80  busy\x1b[2J"
    assert line(delivered) == "1970-01-01T00:01:00.000Z  s  events-0-7  1  delivered  200  12  c:80  -"
