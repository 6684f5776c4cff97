"""The record of changes in `<app>.audit`: who changed what, from where, when, and to which revision.

A record contains no secrets, because it contains only the id of a changed document. It may also contain a request's
Idempotency-Key and the answer, so that any worker recognises the request if it is repeated.
"""

import asyncio
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from aiokafka.errors import KafkaError

from pipeline.cluster.remembered import RememberedRequests, Request
from pipeline.core.clock import Clock, shown_time, steady_now
from pipeline.core.errors import BrokerError
from pipeline.core.model import Event
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.late_producer import LateProducer
from pipeline.kafka.tail import Tail
from pipeline.kafka.topics import count_partitions, producer_for

logger = logging.getLogger(__name__)

WRITE_SECONDS: Final = 5.0
READ_SECONDS: Final = 10.0
PAUSE_SECONDS: Final = 30.0
"""The pause after a failed write. Without this pause, each request would wait for a timeout."""
CHANGES_IN_RECORD: Final = 200
"""The most changes in a record. Brokers accept records of 1 MiB, and an id may take 3 KiB in JSON."""
LARGEST_REQUEST: Final = 100_000
"""The longest request that is recorded, in characters of JSON. Brokers accept records of 1 MiB."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A change, as it is recorded.

    Attributes:
        who, tenant: the principal's name and the metadata that limit it; for a command, the user who ran it.
        address: where the request came from, or the host of the command.
        what: the operation of the API, or the command.
        subscription: the id of the subscription; None if the change is about several.
        facts: result, revision and arguments of the operation.
        request: the request with its answer, if it has an Idempotency-Key.
    """

    who: str
    tenant: Mapping[str, str]
    address: str | None
    what: str
    subscription: str | None
    facts: Mapping[str, Any]
    request: Request | None = None


class AuditLog:
    """Writes changes to the topic, and finds repeated requests in the topic.

    Connects on first use. If the topic is missing or can't be written, changes are still carried out. The worker's log
    has all changes, too.

    Args:
        topic: `<app>.audit`.
        clock: tells the time of changes.
    """

    def __init__(self, connection: KafkaConnection, topic: str, clock: Clock) -> None:
        self._connection = connection
        self._topic = topic
        self._clock = clock
        self._producer = LateProducer(lambda: producer_for(connection, self._topic))
        self._opening = asyncio.Lock()
        self._off_until = 0.0
        self._tail: Tail | None = None
        self._requests = RememberedRequests()

    async def record(self, entry: AuditEntry) -> None:
        """Record a change. An error is logged and not raised."""
        now = self._clock.now()
        if entry.request is not None:
            self._requests.add(_sender(entry.who, entry.tenant), now, entry.request)
        document = _document(entry, now)
        logger.info("%s %s: %s", entry.what, entry.subscription or "", json.dumps(document))
        if steady_now() < self._off_until:
            return
        try:
            await self._write(document, now)
        except (KafkaError, OSError, BrokerError) as error:  # a TimeoutError is an OSError
            self._off_until = steady_now() + PAUSE_SECONDS
            logger.warning(
                "topic %s: a change was not recorded; for the next %.0f s, changes are recorded only in this log: %r",
                self._topic,
                PAUSE_SECONDS,
                error,
            )

    async def record_all(self, entry: AuditEntry, revisions: Mapping[str, int]) -> None:
        """Record the changes of a command.

        Raises:
            BrokerError: the changes could not be recorded.
        """
        now = self._clock.now()
        try:
            for each in entries(entry, revisions):
                await self._write(_document(each, now), now)
        except (KafkaError, OSError) as error:
            raise BrokerError(f"topic {self._topic}: {error!r}") from error

    async def _write(self, document: Mapping[str, Any], now: float) -> None:
        value = json.dumps(document, separators=(",", ":")).encode()
        key = (document["subscription"] or "").encode()
        async with asyncio.timeout(WRITE_SECONDS):
            producer = await self._producer.started()
            await producer.send_and_wait(self._topic, value, key=key, partition=0, timestamp_ms=int(now * 1000))

    async def find(self, key: str) -> Request | None:
        """The request with this key; None if no worker has recorded it in the last day.

        Raises:
            BrokerError: the topic can't be read.
        """
        try:
            async with asyncio.timeout(READ_SECONDS):
                await (await self._started_tail()).caught_up()
        except TimeoutError:
            raise BrokerError(
                f"Idempotency-Key: topic {self._topic}, which stores the keys, could not be read within "
                f"{READ_SECONDS:.0f} s; nothing was changed"
            ) from None
        return self._requests.find(key, self._clock.now())

    async def close(self) -> None:
        """Disconnect."""
        if self._tail is not None:
            await self._tail.stop()
        await self._producer.close()

    async def _started_tail(self) -> Tail:
        async with self._opening:
            if self._tail is None:
                # The topic is checked first, because a tail would wait until it exists.
                await count_partitions(self._connection, self._topic)
                self._tail = Tail(self._connection, self._topic, self._take, self._clock)
                await self._tail.start()
            return self._tail

    def _take(self, record: Event) -> None:
        if record.value is None or b'"request":{' not in record.value:
            return
        try:
            found = json.loads(record.value)
            sender = _sender(found["who"], found["tenant"])
            self._requests.add(sender, record.timestamp / 1000, Request(**found["request"]))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            logger.warning("topic %s: record %d can't be read: %r", self._topic, record.offset, error)


def entries(entry: AuditEntry, revisions: Mapping[str, int]) -> Iterator[AuditEntry]:
    """The entries for a change of many subscriptions: one for each `CHANGES_IN_RECORD` revisions."""
    changes = list(revisions.items())
    for start in range(0, max(1, len(changes)), CHANGES_IN_RECORD):
        part = dict(changes[start : start + CHANGES_IN_RECORD])
        facts = {**entry.facts, "revisions": part} if part else entry.facts
        yield replace(entry, facts=facts, request=None if start else entry.request)


def _sender(who: str, tenant: Mapping[str, str]) -> str:
    return json.dumps([who, *sorted(tenant.items())])


def _document(entry: AuditEntry, now: float) -> dict[str, Any]:
    document: dict[str, Any] = {
        "at": shown_time(now),
        "who": entry.who,
        "tenant": dict(entry.tenant),
        "from": entry.address,
        "what": entry.what,
        "subscription": entry.subscription,
        **entry.facts,
    }
    if len(json.dumps(document.get("body"))) > LARGEST_REQUEST:
        del document["body"]
        document["leftOut"] = ["body"]
    if entry.request is not None:
        request = entry.request
        document["request"] = {
            "key": request.key,
            "digest": request.digest,
            "status": request.status,
            "answer": dict(request.answer),
            "headers": dict(request.headers),
        }
    return document
