"""Collects the evidence: the records in the topics, and the calls that the receiver logged."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.faults.audience import Audience, key_alone
from tests.faults.ledger import Call, Delivery, Event
from tests.support.brokers import TestBroker

_FIELDS: Final = "time, webhook-id, attempt, status, subscription and CRC-32"


@dataclass(frozen=True, slots=True)
class Evidence:
    """The basis of a verdict.

    Attributes:
        events: the events, each once for every subscription that it is for.
        letters: the events that became dead letters.
    """

    events: Sequence[Event]
    calls: Sequence[Call]
    letters: Sequence[Delivery]


async def events_of(broker: TestBroker, topic: str, audience: Audience = key_alone) -> list[Event]:
    """Every event of a source topic, once for each subscription that it is for."""
    return [
        Event(
            f"{record.topic}-{record.partition}-{record.offset}",
            name,
            record.topic,
            record.partition,
            record.offset,
            record.timestamp / 1000,
            zlib.crc32(record.value or b""),
        )
        for record in await broker.read(topic)
        for name in audience(record)
    ]


async def letters_of(broker: TestBroker, topic: str) -> list[Delivery]:
    """The event and the subscription of every dead letter."""
    headers = [dict(record.headers) for record in await broker.read(topic)]
    return [
        Delivery(found["dlq.webhook-id"].decode(), found.get("dlq.subscription", b"").decode())
        for found in headers
        if "dlq.webhook-id" in found
    ]


def calls_of(log: Path) -> list[Call]:
    """The calls in a receiver's log. A line that was cut off by a kill is ignored.

    Raises:
        ValueError: a line does not have the format of receiver.py.
    """
    lines = log.read_text().splitlines(keepends=True)
    return [_call(log, number, line) for number, line in enumerate(lines, start=1) if line.endswith("\n")]


def _call(log: Path, number: int, line: str) -> Call:
    try:
        at, key, attempt, status, subscription, checksum = line.rstrip("\n").split("\t")
        return Call(float(at), key, int(attempt), int(status), subscription, int(checksum))
    except ValueError as error:
        raise ValueError(f"{log}, line {number}: {line!r} is not {_FIELDS} with tabs between them") from error
