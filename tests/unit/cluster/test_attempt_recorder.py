"""The records of the attempt recorder, also while its memory is full."""

from dataclasses import replace
from typing import Any

import pytest

from pipeline.cluster import attempt_recorder
from pipeline.cluster.attempt_recorder import LATE_SECONDS, MOST_OFFSETS, AttemptRecorder
from pipeline.cluster.attempts import Entry, LogMode, Results, encode, key_of
from pipeline.core.attempts import Attempts
from pipeline.core.clock import SystemClock
from pipeline.core.log_bounds import Break
from pipeline.core.model import Cause, PlainEvent
from pipeline.core.outcome import Delivered, Failed, Outcome, Rejected, ServerError
from pipeline.core.policy import DeadLetter, Decision, Drop, Retry, Stop
from pipeline.core.webhook_ids import FIRST_ID, SEAL, WebhookIds
from pipeline.observability.telemetry import Telemetry
from tests.support.core import subscription

IDS = WebhookIds((b"key",))
SUB = subscription("sub-1")
NOW_MS = 1_000_000_000


def event(offset: int, partition: int = 0, **more: Any) -> PlainEvent:
    return replace(PlainEvent("events", partition, offset, b"sub-1", b"body", timestamp=NOW_MS), **more)


class FixedClock(SystemClock):
    """A clock that stands still."""

    def now(self) -> float:
        return NOW_MS / 1000


class Recorded:
    """A recorder, and methods that return the results that it has recorded."""

    def __init__(self, mode: LogMode = "all") -> None:
        self.telemetry = Telemetry(IDS)
        self.recorder = AttemptRecorder(self.telemetry, IDS, worker="w", mode=mode, clock=FixedClock())

    def attempt(self, outcome: Outcome, of: PlainEvent, decision: Decision | None = None, attempt: int = 1) -> None:
        self.recorder.attempt_started()
        self.recorder.attempted(SUB, of, attempt, outcome, 0.0129)
        if decision is not None:
            self.recorder.decided(of, decision)

    def take(self) -> list[tuple[bytes, Results]]:
        return self.recorder.take()

    def entries(self) -> list[Entry]:
        return [entry for _, results in self.take() for entry in results.of()]


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


def test_deliveries_are_recorded_as_ranges_of_offsets(recorded: Recorded) -> None:
    for offset in (4, 5, 9):
        recorded.attempt(Delivered(200), event(offset))
    recorded.attempt(Delivered(204), event(6), attempt=3)
    recorded.attempt(Delivered(200), event(7, partition=2))

    taken = dict(recorded.take())

    assert set(taken) == {b"events/0", b"events/2"}
    assert taken[b"events/0"].delivered == [
        ("sub-1", "receiver.example", 1, 200, [4, 1, 4], [12, 12, 12]),
        ("sub-1", "receiver.example", 3, 204, [6], [12]),
    ]
    assert recorded.telemetry.attempts["delivered"] == 5
    assert recorded.telemetry.in_flight == 0
    assert recorded.take() == []


@pytest.mark.parametrize(
    ("decision", "noted", "reason"),
    [
        (Retry(2.0), "retry", None),
        (DeadLetter("expired"), "dead-letter", "expired"),
        (Stop("server-error"), "failure", "server-error"),
        (Drop(), "dropped", "not-retried"),
        (None, None, None),
    ],
)
def test_a_failed_attempt_is_recorded_with_its_decision(
    recorded: Recorded, decision: Decision | None, noted: str | None, reason: str | None
) -> None:
    recorded.attempt(ServerError(503, b"busy"), event(4), decision, attempt=2)

    [entry] = recorded.entries()
    result = entry.result

    assert (result.decision, result.reason, result.attempt, result.status) == (noted, reason, 2, 503)
    assert (result.host, result.response, result.error, result.duration_ms) == ("receiver.example", "busy", None, 12)
    assert result.next_at == (result.at + 2 if decision == Retry(2.0) else None)
    assert entry.webhook_id == "events-0-4"


def test_no_secret_is_recorded(recorded: Recorded) -> None:
    secret = b"Authorization: Bearer abcdefgh12345678=="
    owner = replace(SUB, url="https://me:hidden@receiver.example:8443/hook?token=hidden")
    recorded.recorder.attempted(owner, event(4), 1, Rejected(400, b"you sent " + secret), 1.0)
    recorded.recorder.attempted(
        owner, event(5), 1, Failed("no answer from https://u:hidden@x/", may_have_arrived=True), 1.0
    )
    recorded.recorder.attempted(owner, event(6), 1, Delivered(200), 1.0)

    value = b"".join(encode(results) for _, results in recorded.take())

    assert b"hidden" not in value
    assert b"abcdefgh" not in value
    assert b"receiver.example:8443" in value


def test_responses_and_errors_are_cut(recorded: Recorded) -> None:
    recorded.attempt(Rejected(400, b"x" * 5000), event(4))
    recorded.attempt(Failed("y" * 5000, may_have_arrived=True), event(5))

    response, error = recorded.entries()

    assert len(response.result.response or "") < 600
    assert len(error.result.error or "") < 600


def test_mode_failures_omits_deliveries_at_the_first_attempt() -> None:
    recorded = Recorded("failures")
    recorded.attempt(Delivered(200), event(4))
    recorded.attempt(Delivered(200), event(5), attempt=2)
    recorded.attempt(ServerError(500), event(6), Retry(1.0))

    assert [(each.result.offset, each.result.decision) for each in recorded.entries()] == [
        (5, "delivered"),
        (6, "retry"),
    ]


def test_a_late_event_is_recorded_under_a_separate_key(recorded: Recorded) -> None:
    recorded.attempt(Delivered(200), event(4, timestamp=NOW_MS - int(LATE_SECONDS * 1000) - 1))
    recorded.attempt(Delivered(200), event(5, timestamp=-1))
    recorded.attempt(Delivered(200), event(6))

    keys = [key for key, _ in recorded.take()]

    assert keys == [key_of("events", 0, is_late=True), key_of("events", 0, is_late=False)]


def test_a_redriven_event_is_recorded_by_its_first_id(recorded: Recorded) -> None:
    again = event(90, partition=2)
    seal = IDS.seal(again, "events-0-4") or b""
    again = replace(again, headers=[("x", b"1"), (FIRST_ID, b"events-0-4"), (SEAL, seal)])
    recorded.attempt(ServerError(500), again, Retry(1.0))
    recorded.attempt(Delivered(200), again, attempt=2)
    recorded.recorder.dead_lettered("rejected", subscription="sub-1", event=again)

    [(key, results)] = recorded.take()

    assert key == b"events/0/late"
    assert {each.webhook_id for each in results.of(offset=4)} == {"events-0-4"}
    assert [(each.result.decision, each.position) for each in results.of() if each.result.attempt] == [
        ("retry", ("events", 2, 90)),
        ("delivered", ("events", 2, 90)),
    ]
    assert results.settled == [("sub-1", "dead-lettered", "rejected", [4])]


def test_a_forged_first_id_is_ignored(recorded: Recorded) -> None:
    recorded.attempt(Delivered(200), event(90, headers=[(FIRST_ID, b"events-0-4"), (SEAL, b"v1,forged")]))

    assert [each.webhook_id for each in recorded.entries()] == ["events-0-90"]


def test_results_without_an_attempt_are_recorded(recorded: Recorded) -> None:
    recorder = recorded.recorder
    recorder.dropped("skipped", subscription="sub-1", topic="events", partition=0, offset=4)
    recorder.dropped("lane-full", subscription="sub-1", topic="events", partition=0, offset=5)
    recorder.dropped("undecodable", topic="events", partition=0, offset=6)
    recorder.dropped("discarded", 3, subscription="sub-1", topic="events", partition=0, offset=19, since=10)
    recorder.dropped("retention", 5, subscription="sub-1", topic="events", partition=0, offset=24)
    recorder.dropped("unknown-subscription", 3)
    recorder.log_broken("events", 0, Break("retention", 30, 40))
    recorder.log_broken("events", 0, Break("truncated", 50, 45))

    [(key, results)] = recorded.take()

    assert key == b"events/0/late"
    assert [(each.result.offset, each.result.decision, each.result.reason) for each in results.of()] == [
        (4, "skipped", "skipped"),
        (5, "dropped", "lane-full"),
        (6, "dropped", "undecodable"),
    ]
    assert results.ranges == [
        ("sub-1", "dropped", "discarded", 10, 19),
        ("sub-1", "dropped", "retention", 20, 24),
        (None, "dropped", "retention", 30, 39),
    ]
    assert recorded.telemetry.drops["discarded"] == 3


def test_a_failure_without_an_attempt_is_recorded(recorded: Recorded) -> None:
    attempts = Attempts(1, 0.0)
    recorded.recorder.subscription_failed(SUB, "events", 0, Cause("configuration", "the filter is wrong", None, 5.0))
    recorded.recorder.subscription_failed(SUB, "events", 0, Cause("dead-letter", "refused", 7, 6.0, attempts))
    noted = Cause("exception", "noted with its attempt", 8, 7.0, attempts)
    recorded.recorder.subscription_failed(SUB, "events", 0, noted)

    first, second = recorded.entries()

    assert (first.webhook_id, first.result.reason, first.result.error) == (None, "configuration", "the filter is wrong")
    assert (second.webhook_id, second.result.reason) == ("events-0-7", "dead-letter")


def test_dropped_results_are_counted_with_their_offsets(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt_recorder, "MOST_OFFSETS", 2)
    monkeypatch.setattr(attempt_recorder, "MOST_ENTRIES", 1)
    for offset in range(5):
        recorded.attempt(Delivered(200), event(offset))
    for offset in range(10, 13):
        recorded.attempt(ServerError(500), event(offset), Retry(1.0))

    taken = dict(recorded.take())

    assert taken[b"events/0/late"].lost == [(5, 2, 12)]
    assert recorded.recorder.missing == 5
    assert recorded.telemetry.attempts["delivered"] == 5


def test_the_next_record_lists_results_that_were_lost(recorded: Recorded) -> None:
    recorded.attempt(Delivered(200), event(4))
    recorded.attempt(ServerError(500), event(9), Retry(1.0))
    recorded.recorder.dropped("discarded", 3, subscription="sub-1", topic="events", partition=0, offset=19, since=2)
    for _, results in recorded.take():
        recorded.recorder.lose(results)
    assert recorded.recorder.missing == 4
    # If the next record is lost too, the one after it names the same results, and the count does not change.
    for _ in range(2):
        [(key, results)] = recorded.take()
        assert (key, results.lost) == (b"events/0/late", [(4, 2, 19)])
        recorded.recorder.lose(results)
    assert recorded.recorder.missing == 4


def test_a_record_of_many_entries_fits_into_the_topic(recorded: Recorded) -> None:
    for number in range(MOST_OFFSETS):
        owner = replace(SUB, id=f"a-subscription-with-a-rather-long-name-{number}")
        recorded.recorder.attempted(owner, event(number), 1, Delivered(200), 0.1)
    for offset in range(attempt_recorder.MOST_ENTRIES):
        recorded.attempt(Rejected(400, "\u20ac".encode() * 340), event(offset))

    taken = recorded.take()

    assert len(taken) > 1
    assert max(len(encode(results)) for _, results in taken) < 512 * 1024
    assert sum(1 for _, results in taken for _ in results.of()) == MOST_OFFSETS + attempt_recorder.MOST_ENTRIES
