"""The evidence: what the topics hold, and what the receiver has written down."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.faults.ledger import Call, Event
from tests.support.brokers import TestBroker

_FIELDS: Final = "time, webhook-id, attempt, status, subscription and CRC-32"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the verdict rests on.

    Attributes:
        letters: the webhook-ids of all dead letters.
    """

    events: Sequence[Event]
    calls: Sequence[Call]
    letters: Sequence[str]


async def events_of(broker: TestBroker, topic: str) -> list[Event]:
    """Every event of a source topic."""
    return [
        Event(
            f"{record.topic}-{record.partition}-{record.offset}",
            (record.key or b"").decode(),
            record.partition,
            record.offset,
            record.timestamp / 1000,
            zlib.crc32(record.value or b""),
        )
        for record in await broker.read(topic)
    ]


async def letters_of(broker: TestBroker, topic: str) -> list[str]:
    """The webhook-id of every dead letter."""
    return [
        value.decode()
        for record in await broker.read(topic)
        for name, value in record.headers
        if name == "dlq.webhook-id"
    ]


def calls_of(log: Path) -> list[Call]:
    """The calls in a receiver's log; of a line that was cut off by a kill nothing is taken.

    Raises:
        ValueError: a line is none of receiver.py.
    """
    lines = log.read_text().splitlines(keepends=True)
    return [_call(log, number, line) for number, line in enumerate(lines, start=1) if line.endswith("\n")]


def _call(log: Path, number: int, line: str) -> Call:
    try:
        at, key, attempt, status, subscription, checksum = line.rstrip("\n").split("\t")
        return Call(float(at), key, int(attempt), int(status), subscription, int(checksum))
    except ValueError as error:
        raise ValueError(f"{log}, line {number}: {line!r} is not {_FIELDS} with tabs between them") from error
