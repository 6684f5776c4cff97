"""The subscriptions whose last events were dead-lettered: observability/dead_letter_runs.py."""

import pytest

from pipeline.core.attempts import DeadLetterRun
from pipeline.core.model import PlainEvent
from pipeline.core.outcome import Rejected
from pipeline.core.subscription import Subscription
from pipeline.observability import dead_letter_runs
from pipeline.observability.dead_letter_runs import DeadLetterRuns
from pipeline.observability.telemetry import Telemetry

EVENT = PlainEvent("t", 0, 7, b"s", b"")
OWNED = {("t", 0)}


def run_of(name: str, runs: DeadLetterRuns) -> DeadLetterRuns:
    runs.failed(name, "401")
    runs.dead_lettered("rejected", name, EVENT, 5.0)
    return runs


def test_a_delivery_ends_a_run_whose_message_was_evicted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letter_runs, "MOST_RUNS", 2)
    runs = run_of("s", DeadLetterRuns())
    for other in "ab":
        runs.failed(other, "503")
    runs.end("s")
    assert runs.newest(9, OWNED) == {}


@pytest.mark.parametrize("reason", ["unknown-subscription", "undecodable"])
def test_a_letter_without_a_receiver_is_not_counted(reason: str) -> None:
    runs = run_of("s", DeadLetterRuns())
    runs.dead_lettered(reason, "s", EVENT, 6.0)
    assert runs.newest(9, OWNED) == {"s": DeadLetterRun(1, 5.0, 5.0, "401")}


def test_a_run_ends_when_its_partition_is_lost() -> None:
    runs = run_of("s", DeadLetterRuns())
    assert runs.newest(9, {("t", 1)}) == {}
    assert runs.newest(9, OWNED) == {}, "another worker may have delivered"


def test_a_run_ends_with_its_subscription() -> None:
    telemetry, subscription = Telemetry(), Subscription("s", 4, "http://r.test/")
    telemetry.attempted(subscription, EVENT, 1, Rejected(401), 0.1)
    telemetry.dead_lettered("rejected", subscription="s", event=EVENT)
    telemetry.on_subscription("s", subscription)
    [run] = telemetry.dead_letter_runs.newest(9, OWNED).values()
    assert run.revision == subscription.revision
    telemetry.on_subscription("s", None)
    assert telemetry.dead_letter_runs.newest(9, OWNED) == {}
