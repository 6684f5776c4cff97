"""The webhook-id of an event is its position or, after a redrive with a valid seal, its first webhook-id."""

import logging
from dataclasses import replace

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.clock import SystemClock
from pipeline.core.dead_letter import DeadLetterRecord
from pipeline.core.model import PlainEvent
from pipeline.core.outcome import ServerError
from pipeline.core.subscription import Subscription
from pipeline.core.webhook_ids import WebhookIds
from pipeline.http.request import Target, request_head
from pipeline.kafka.dead_letters import headers_of
from pipeline.kafka.redrive import headers_back
from pipeline.observability.logs import Facts
from pipeline.observability.telemetry import Telemetry

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()
IDS = WebhookIds.from_secret_keys([OLD])
EVENT = PlainEvent("events", 3, 41, b"sub-1", b"body", [("content-type", b"text/x")], 1_000)


def redriven(event: PlainEvent, ids: WebhookIds = IDS, offset: int = 99) -> PlainEvent:
    """*event* after a redrive: dead-lettered, and written to the source topic again."""
    letter = PlainEvent("letters", 0, 7, event.key, event.value, headers_of(DeadLetterRecord(event, "rejected"), ids))
    return replace(event, offset=offset, headers=headers_back(letter))


def sent_id(event: PlainEvent, ids: WebhookIds = IDS) -> str:
    """The webhook-id in the request for an event."""
    head = request_head(
        Subscription("sub-1", 1, ""), Target("/", "h"), url_authorization=None, user_agent="u",
        clock=SystemClock(), left_out=list[str]().append, ids=ids,
    )  # fmt: skip
    lines = head.request(event, 1).partition(b"\r\n\r\n")[0].split(b"\r\n")
    (line,) = [line for line in lines if line.startswith(b"webhook-id: ")]
    return line.removeprefix(b"webhook-id: ").decode("latin-1")


class Collected(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def logged_id(event: PlainEvent, ids: WebhookIds = IDS) -> object:
    """The webhook-id in the log line of an attempt."""
    handler = Collected()
    logger = logging.getLogger("pipeline.observability.telemetry")
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        Telemetry(ids).attempted(Subscription("sub-1", 1, "http://h/"), event, 1, ServerError(503), 0.1)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    (record,) = handler.records
    assert isinstance(record.msg, Facts)
    return record.msg.values["webhook_id"]


def lettered_id(event: PlainEvent, ids: WebhookIds = IDS) -> str:
    """The webhook-id in the dead letter of an event."""
    (value,) = [
        value for name, value in headers_of(DeadLetterRecord(event, "rejected"), ids) if name == "dlq.webhook-id"
    ]
    return value.decode()


def test_a_webhook_id_consists_of_topic_partition_and_offset() -> None:
    assert IDS.of(EVENT) == "events-3-41"


def test_a_redriven_event_always_keeps_its_first_id() -> None:
    once = redriven(EVENT)
    twice = redriven(once, offset=150)

    assert IDS.of(once) == IDS.of(twice) == "events-3-41"
    assert IDS.of(redriven(replace(EVENT, key=None, value=None))) == "events-3-41"


@pytest.mark.parametrize("seal", [None, b"", b"v1,", b"v1,AAAA", b"v2,x", b"\xff"])
def test_a_producer_can_not_choose_the_id_of_an_event(seal: bytes | None) -> None:
    headers = [("dlq.webhook-id", b"events-3-7")] + ([] if seal is None else [("dlq.seal", seal)])
    forged = replace(EVENT, headers=headers)

    assert IDS.of(forged) == sent_id(forged) == lettered_id(forged) == "events-3-41"


@pytest.mark.parametrize(
    "other",
    [
        {"key": b"sub-2"},
        {"value": b"another body"},
        {"key": b"sub-1body", "value": b""},
        {"key": None},
        {"value": None},
    ],
)
def test_a_seal_is_not_valid_for_another_event(other: dict[str, bytes | None]) -> None:
    sealed = redriven(EVENT)

    assert IDS.of(replace(sealed, **other)) == "events-3-99"  # type: ignore[arg-type]  # key and value take bytes


def test_a_seal_is_not_valid_for_another_id() -> None:
    headers = [(name, b"events-3-42" if name == "dlq.webhook-id" else value) for name, value in redriven(EVENT).headers]

    assert IDS.of(replace(EVENT, headers=headers, offset=99)) == "events-3-99"


@pytest.mark.parametrize(("webhook_id", "key"), [(b"events-3-", b"41sub-1"), (b"events-3-41s", b"ub-1"), (b"", None)])
def test_a_seal_prevents_moving_bytes_between_id_and_key(webhook_id: bytes, key: bytes | None) -> None:
    headers = [(name, webhook_id if name == "dlq.webhook-id" else value) for name, value in redriven(EVENT).headers]

    assert IDS.of(replace(EVENT, key=key, headers=headers, offset=99)) == "events-3-99"


def test_every_key_verifies_and_the_first_one_seals() -> None:
    rotated, retired = WebhookIds.from_secret_keys([NEW, OLD]), WebhookIds.from_secret_keys([NEW])
    before = redriven(EVENT)

    assert rotated.of(before) == "events-3-41"
    assert retired.of(before) == "events-3-99"
    assert retired.of(redriven(EVENT, rotated)) == "events-3-41"


def test_without_keys_first_ids_are_neither_read_nor_sealed() -> None:
    nobody = WebhookIds()

    assert nobody.of(redriven(EVENT)) == "events-3-99"
    assert [name for name, _ in headers_of(DeadLetterRecord(EVENT, "rejected"), nobody)][-1] == "dlq.webhook-id"


def test_the_keys_are_derived_from_the_secret_keys_and_not_shown() -> None:
    assert repr(IDS) == "WebhookIds()"
    assert Fernet(OLD)._signing_key not in IDS.keys[0]


def test_an_invalid_secret_key_is_refused() -> None:
    with pytest.raises(ValueError, match="not a Fernet key"):
        WebhookIds.from_secret_keys(["c2hvcnQ="])


IDS_OF_PRODUCERS = st.one_of(
    st.binary(max_size=12), st.sampled_from([b" ab", b"ab ", b"events-3-7", b"\xc3\xbc", b"a\r\nx: y", b""])
)


@given(st.lists(st.tuples(st.sampled_from(["dlq.webhook-id", "dlq.seal", "a"]), st.none() | IDS_OF_PRODUCERS)))
def test_an_event_has_one_id_when_sent_logged_and_dead_lettered(
    headers: list[tuple[str, bytes | None]],
) -> None:
    event = replace(EVENT, headers=headers)  # type: ignore[arg-type]  # Kafka knows null values

    assert sent_id(event) == logged_id(event) == lettered_id(event) == "events-3-41"


@given(
    st.binary(max_size=20),
    st.binary(max_size=20),
    st.lists(st.tuples(st.sampled_from(["dlq.webhook-id", "dlq.seal"]), IDS_OF_PRODUCERS), max_size=2),
)
def test_a_redriven_event_has_its_first_id_everywhere(key: bytes, value: bytes, more: list[tuple[str, bytes]]) -> None:
    once = redriven(replace(EVENT, key=key, value=value))
    event = replace(once, headers=[*once.headers, *more])

    assert sent_id(event) == logged_id(event) == lettered_id(event) == "events-3-41"
