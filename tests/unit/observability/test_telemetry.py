"""Counters and log lines of the delivery path: observability/telemetry.py."""

import logging
from collections import Counter
from dataclasses import replace

import pytest

from pipeline.core.attempts import Attempts
from pipeline.core.log_bounds import Break
from pipeline.core.model import Cause, PlainEvent
from pipeline.core.outcome import (
    Delivered,
    Failed,
    Outcome,
    Rejected,
    ServerError,
    TokenRefused,
    TokenUnavailable,
)
from pipeline.core.subscription import BasicAuth, Header, Subscription
from pipeline.observability.logs import Facts
from pipeline.observability.telemetry import Telemetry

SUBSCRIPTION = Subscription(
    "sub-1",
    7,
    "https://user:hunter2@example.com:8443/hook?token=hunter2",
    headers=(Header("X-Api-Key", "hunter2"),),
    auth=BasicAuth("user", "hunter2"),
    signing_secrets=("whsec_hunter2",),
)
TOPIC = "events"
EVENT = PlainEvent(TOPIC, 3, 41, b"sub-1", b"hunter2", headers=(("x-secret", b"hunter2"),))


class Watch:
    """A monotonic clock that a test sets."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def telemetry(watch: Watch) -> Telemetry:
    return Telemetry(monotonic=watch)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "pipeline.observability.telemetry")
    return caplog


def facts(record: logging.LogRecord) -> tuple[str, dict[str, object]]:
    assert isinstance(record.msg, Facts)
    return record.msg.name, record.msg.fields()


@pytest.mark.parametrize(
    ("outcome", "name"),
    [
        (Delivered(204), "delivered"),
        (Rejected(404), "rejected"),
        (ServerError(503), "server-error"),
        (Failed("refused", may_have_arrived=False), "failed"),
        (Failed("silent", may_have_arrived=True, timed_out=True), "timed-out"),
        (TokenRefused("invalid_client"), "token-refused"),
        (TokenUnavailable("503"), "token-unavailable"),
    ],
)
def test_an_attempt_is_counted_by_its_outcome(telemetry: Telemetry, outcome: Outcome, name: str) -> None:
    telemetry.attempt_started()
    assert telemetry.in_flight == 1

    telemetry.attempted(SUBSCRIPTION, EVENT, 1, outcome, 0.2)

    assert telemetry.in_flight == 0
    assert {label: count for label, count in telemetry.attempts.items() if count} == {name: 1}
    assert telemetry.attempt_seconds.cumulative()[-1] == ("+Inf", 1)


def test_a_cancelled_attempt_is_not_counted_as_in_flight(telemetry: Telemetry) -> None:
    telemetry.attempt_started()
    telemetry.attempt_abandoned()

    assert telemetry.in_flight == 0
    assert not any(telemetry.attempts.values())


def test_a_failed_attempt_is_one_line_with_every_fact(telemetry: Telemetry, log: pytest.LogCaptureFixture) -> None:
    telemetry.attempted(SUBSCRIPTION, EVENT, 2, ServerError(503, b"hunter2"), 0.25)

    (record,) = log.records
    assert record.levelno == logging.INFO
    assert facts(record) == (
        "delivery.attempted",
        {
            "subscription": "sub-1",
            "topic": "events",
            "partition": 3,
            "offset": 41,
            "webhook_id": "events-3-41",
            "attempt": 2,
            "outcome": "server-error",
            "status": 503,
            "seconds": 0.25,
            "host": "example.com:8443",
        },
    )


def test_no_line_contains_a_secret_a_body_or_a_query(telemetry: Telemetry, log: pytest.LogCaptureFixture) -> None:
    log.set_level(logging.DEBUG, "pipeline.observability.telemetry")
    for outcome in (Delivered(200), Rejected(400, b"hunter2"), Failed("reset", may_have_arrived=True)):
        telemetry.attempted(SUBSCRIPTION, EVENT, 1, outcome, 0.1)
    telemetry.subscription_failed(SUBSCRIPTION, TOPIC, 3, Cause("rejected", "the callback answered 400", 41, 0.0))

    assert len(log.records) == 3
    assert "hunter2" not in log.text


def test_the_age_of_an_event_is_measured_at_its_delivery() -> None:
    telemetry = Telemetry(now=lambda: 1_000.0)
    for timestamp in (999_950, 940_000, 1_000_500, 0, -1):  # 0 and -1: no timestamp
        event = replace(EVENT, timestamp=timestamp)
        telemetry.attempted(SUBSCRIPTION, event, 1, Delivered(200), 0.1)
        telemetry.attempted(SUBSCRIPTION, event, 1, ServerError(503), 0.1)
    counts = dict(telemetry.end_to_end_seconds.cumulative())

    assert (counts["0.01"], counts["0.1"], counts["30.0"], counts["60.0"], counts["+Inf"]) == (1, 2, 2, 3, 3)
    assert round(telemetry.end_to_end_seconds.total, 3) == 60.05


def test_answers_are_counted_by_the_class_of_their_status(telemetry: Telemetry) -> None:
    rejected = [Rejected(status) for status in (99, 101, 302, 404, 429)]
    failed = [Failed("x", may_have_arrived=False), Failed("x", may_have_arrived=True, timed_out=True)]
    others: list[Outcome] = [Delivered(204), ServerError(503), ServerError(799), TokenRefused("x")]
    for outcome in [*rejected, *failed, *others]:
        telemetry.attempted(SUBSCRIPTION, EVENT, 1, outcome, 0.1)

    assert telemetry.answers() == {"1xx": 2, "2xx": 1, "3xx": 1, "4xx": 2, "5xx": 2, "none": 2}


def test_a_success_is_logged_only_at_debug(telemetry: Telemetry, log: pytest.LogCaptureFixture) -> None:
    telemetry.attempted(SUBSCRIPTION, EVENT, 1, Delivered(200), 0.1)
    assert not log.records

    log.set_level(logging.DEBUG, "pipeline.observability.telemetry")
    telemetry.attempted(SUBSCRIPTION, EVENT, 1, Delivered(200), 0.1)
    assert [record.levelno for record in log.records] == [logging.DEBUG]


def test_failure_lines_of_a_subscription_are_limited_and_counted(
    telemetry: Telemetry, log: pytest.LogCaptureFixture, watch: Watch
) -> None:
    other = Subscription("sub-2", 1, "https://example.org")
    for _ in range(5):
        telemetry.attempted(SUBSCRIPTION, EVENT, 1, Rejected(404), 0.1)
    telemetry.attempted(other, EVENT, 1, Rejected(404), 0.1)
    assert [facts(record)[1]["subscription"] for record in log.records] == ["sub-1", "sub-2"]

    watch.seconds += 10
    telemetry.attempted(SUBSCRIPTION, EVENT, 1, Rejected(404), 0.1)

    assert facts(log.records[-1])[1]["suppressed"] == 4
    assert telemetry.attempts["rejected"] == 7


def test_drops_are_counted_and_logged_with_their_reason(
    telemetry: Telemetry, log: pytest.LogCaptureFixture, watch: Watch
) -> None:
    telemetry.dropped("lane-full", subscription="sub-1", topic=TOPIC, partition=3, offset=41)
    telemetry.dropped("lane-full", 20, subscription="sub-1", topic=TOPIC, partition=3, offset=61)
    telemetry.dropped("retention", subscription="sub-1", topic=TOPIC, partition=3)
    watch.seconds += 10
    telemetry.dropped("lane-full", subscription="sub-1", topic=TOPIC, partition=3, offset=62)

    assert telemetry.drops["lane-full"] == 22
    assert [(record.levelname, *facts(record)) for record in log.records] == [
        (
            "WARNING",
            "event.dropped",
            {"rule": "lane-full", "subscription": "sub-1", "topic": TOPIC, "partition": 3, "offset": 41, "count": 1},
        ),
        (
            "WARNING",
            "event.dropped",
            {"rule": "retention", "subscription": "sub-1", "topic": TOPIC, "partition": 3, "count": 1},
        ),
        (
            "WARNING",
            "event.dropped",
            {
                "rule": "lane-full",
                "subscription": "sub-1",
                "topic": TOPIC,
                "partition": 3,
                "offset": 62,
                "count": 1,
                "suppressed": 20,
            },
        ),
    ]


def test_a_failed_subscription_is_a_warning_with_its_cause(telemetry: Telemetry, log: pytest.LogCaptureFixture) -> None:
    cause = Cause("server-error", "the callback answered 503", 41, 9.0, Attempts(4, 1_770_000_000.0, 503))
    telemetry.subscription_failed(SUBSCRIPTION, TOPIC, 3, cause)

    (record,) = log.records
    assert record.levelno == logging.WARNING
    assert facts(record) == (
        "subscription.failed",
        {
            "subscription": "sub-1",
            "kind": "server-error",
            "cause": "the callback answered 503",
            "topic": TOPIC,
            "partition": 3,
            "offset": 41,
            "attempts": 4,
            "first_attempt_at": "2026-02-02T02:40:00Z",
            "host": "example.com:8443",
        },
    )
    assert telemetry.subscription_failures == Counter({"server-error": 1})


def test_repeated_failures_are_always_counted_and_rarely_logged(
    telemetry: Telemetry, log: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        telemetry.dead_letter_failed("NodeNotReadyError()")
        telemetry.header_left_out("s", "x\r\n")

    assert (telemetry.dead_letter_failures, telemetry.headers_left_out) == (3, 3)
    assert [facts(record)[0] for record in log.records] == ["dead-letter.failed", "header.left-out"]
    assert facts(log.records[1])[1]["subscription"] == "s"
    assert "\r" not in log.records[1].getMessage()


def test_a_left_out_header_is_logged_for_each_subscription(telemetry: Telemetry, log: pytest.LogCaptureFixture) -> None:
    for subscription in ("a", "b", "a"):
        telemetry.header_left_out(subscription, "Content-Length")

    assert [facts(record)[1]["subscription"] for record in log.records] == ["a", "b"]


def test_a_dead_letter_is_logged(telemetry: Telemetry, log: pytest.LogCaptureFixture) -> None:
    for offset in (7, 8):
        telemetry.dead_lettered("rejected", subscription="s", event=PlainEvent("t", 0, offset, b"s", b""))
    telemetry.dead_lettered("unknown-subscription", subscription="nosuch", event=PlainEvent("t", 0, 9, b"nosuch", b""))
    assert telemetry.dead_letters == Counter({"rejected": 2, "unknown-subscription": 1})
    assert [facts(record) for record in log.records] == [
        ("event.dead-lettered", {"subscription": "s", "reason": "rejected", "topic": "t", "partition": 0, "offset": 7}),
        (
            "event.dead-lettered",
            {"subscription": "nosuch", "reason": "unknown-subscription", "topic": "t", "partition": 0, "offset": 9},
        ),
    ]


def test_results_other_than_attempts_are_counted(telemetry: Telemetry, watch: Watch) -> None:
    telemetry.settled("delivered", 30)
    telemetry.settled("dead-lettered")
    telemetry.settled("unmatched", 2)
    telemetry.dead_lettered("rejected", subscription="s", event=PlainEvent("t", 0, 1, b"s", b""))
    telemetry.token_fetched("refused")
    telemetry.rows_written(4)
    telemetry.committed(TOPIC, 3, 42)
    telemetry.rebalanced()
    watch.seconds += 10

    found = {how: count for how, count in telemetry.deliveries.items() if count}
    assert found == {"delivered": 30, "dead-lettered": 1, "unmatched": 2}
    assert telemetry.delivered_rate.per_second() == 3.0
    assert telemetry.dead_letters == Counter({"rejected": 1})
    assert telemetry.token_fetches == {"ok": 0, "refused": 1, "unavailable": 0}
    assert (telemetry.rows, telemetry.commits, telemetry.rebalances) == (4, 1, 1)


def test_events_that_retention_deleted_are_counted_once(telemetry: Telemetry) -> None:
    telemetry.log_broken(TOPIC, 3, Break("retention", 9, 30))
    telemetry.log_broken(TOPIC, 3, Break("retention", 4, 30), subscription="behind")
    telemetry.dropped("retention", 10, subscription="farther behind", topic=TOPIC, partition=3, offset=29)
    telemetry.log_broken(TOPIC, 1, Break("retention", 9, 30))
    assert telemetry.drops["retention"] == 26 + 21


def test_offsets_of_a_recreated_topic_are_counted_again(telemetry: Telemetry) -> None:
    telemetry.log_broken(TOPIC, 3, Break("retention", 0, 30))
    telemetry.log_broken(TOPIC, 3, Break("recreated", 40, 5))
    telemetry.log_broken(TOPIC, 3, Break("recreated", 35, 5), subscription="behind")
    assert telemetry.drops["retention"] == 30 + 5


def test_a_log_break_is_counted_logged_and_shown_for_an_hour(
    telemetry: Telemetry, watch: Watch, log: pytest.LogCaptureFixture
) -> None:
    telemetry.log_broken(TOPIC, 3, Break("retention", 9, 30), subscription="s")
    telemetry.log_broken(TOPIC, 0, Break("truncated", 1000, 80))
    assert telemetry.log_breaks == {"recreated": 0, "truncated": 1, "retention": 1}
    assert telemetry.drops["retention"] == 21
    broken = {"kind": "retention", "subscription": "s", "topic": TOPIC, "partition": 3, "offset": 9, "goes_on_at": 30}
    dropped = {"rule": "retention", "subscription": "s", "topic": TOPIC, "partition": 3, "offset": 29, "count": 21}
    assert [facts(record) for record in log.records][:2] == [("log.broken", broken), ("event.dropped", dropped)]
    said = telemetry.warnings()
    assert [sentence.partition(":")[0] for sentence in said] == ["partition 0 of events", "partition 3 of events"]

    watch.seconds += 1800
    telemetry.log_broken(TOPIC, 0, Break("truncated", 1000, 80))
    watch.seconds += 1800
    assert telemetry.warnings() == said[:1]
