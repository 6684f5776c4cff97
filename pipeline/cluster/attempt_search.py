"""Searches the attempt log: the newest attempts of a subscription, and the fate of an event.

The log contains the attempts of three days, and no search reads all of it. The search for an event begins a few minutes
before the event's timestamp. A few minutes after the timestamp, only records of late events are left to read
(attempts.py). The attempts of a subscription are read backwards (attempt_pages.py). Each search has a time limit, and
its result says how far it read.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Final

from aiokafka import TopicPartition

from pipeline.cluster.attempt_pages import AttemptPage, Backwards, EntryPosition
from pipeline.cluster.attempt_recorder import LATE_SECONDS
from pipeline.cluster.attempts import SESSION_KEY, EventPosition, Session, decoded, key_of, parse_id
from pipeline.cluster.fate import Case, EventHistory, Fate, PartitionProgress, conclude
from pipeline.cluster.log_scan import LogScan, OutOfTime, opened_scan
from pipeline.config.definition import Definition
from pipeline.core.addressed import AddressedMatching, is_addressed
from pipeline.core.ahead import unpack
from pipeline.core.errors import BrokerError, ConfigurationError, UnknownSubscriptionError
from pipeline.core.keys import decode_key
from pipeline.core.matching import SubscriptionIndex
from pipeline.core.model import Cursor, Event
from pipeline.core.ports import Registry
from pipeline.core.shown import shown
from pipeline.core.subscription import Routing, Subscription
from pipeline.core.webhook_ids import WebhookIds
from pipeline.kafka.admin import administration
from pipeline.kafka.committed import Committed
from pipeline.kafka.cursor_rows import read_rows
from pipeline.kafka.topics import attempts_topic, cursors_topic
from pipeline.subscriptions.advisories import idleness

SEARCH_SECONDS: Final = 10.0
SLACK_SECONDS: Final = 300.0
"""The largest difference between the clocks of producers and workers, plus the delay before results are written."""


class AttemptSearch:
    """Searches the attempt log of an application.

    Args:
        definition: the API definition, which names the source topics.
        ids: verifies the webhook-id and the addressee that the headers of an event name.
        seconds: the time limit of one search.
    """

    def __init__(
        self,
        definition: Definition,
        app: str,
        registry: Registry,
        ids: WebhookIds,
        *,
        seconds: float = SEARCH_SECONDS,
    ) -> None:
        self._definition = definition
        self._app = app
        self._registry = registry
        self._ids = ids
        self._seconds = seconds

    # --------------------------------------------------------------- the attempts of a subscription

    async def attempts(
        self, subscription: str, after: str | None = None, limit: int = 50, webhook_id: str | None = None
    ) -> AttemptPage:
        """A page of the attempts of a subscription, newest first.

        Also has events that ended without an attempt, such as skips.

        Args:
            subscription: the id of the subscription.
            after: `next` of the previous page; None for the first page.
            limit: the largest number of entries.
            webhook_id: only entries of this event; None: entries of all events.

        Raises:
            BrokerError: the log can't be read.
            ConfigurationError: *after* is not the `next` of a page.
        """
        before = None if after is None else EntryPosition.parse(after)
        connection = self._definition.source.connection
        async with opened_scan(connection, attempts_topic(self._app), self._seconds) as scan:
            return await Backwards(scan, subscription, before, limit, webhook_id).run()

    # --------------------------------------------------------------- the fate of an event

    async def fate(self, webhook_id: str, subscription: str | None = None) -> list[Fate]:
        """What became of an event for *subscription*; None: for every subscription that it is or was for.

        A redriven event is found by its first webhook-id or by its new position.

        Raises:
            BrokerError: the source, its group or the cursors can't be read.
            UnknownSubscriptionError: there is no such subscription, and the log has no entry about it.
            ConfigurationError: *webhook_id* is not the id of an event in a source topic.
        """
        position = self._position(webhook_id)
        # Positions are read before the log, so that the log is never older than the positions.
        progress = await self._progress(position)
        first = webhook_id if progress.event is None else self._ids.of(progress.event)
        if first != webhook_id and (parse_id(first) or ("",))[0] in self._definition.source.topics:
            return await self.fate(first, subscription)
        wanted = self._wanted(progress.event, subscription)
        history = await self._history(position, progress.event, set(wanted), is_one=subscription is not None)
        logged = {each.subscription for each in history.entries}
        names: set[str | None] = logged | set(wanted)
        if subscription is not None:
            is_told_of = wanted.get(subscription) or subscription in logged
            if not is_told_of and self._registry.get(subscription) is None:
                raise UnknownSubscriptionError(f"there is no subscription {shown(subscription)}")
            names = {subscription}
        elif not names:
            names = {None}
        now, owner = time.time(), self._owner(progress.event)
        return [
            conclude(
                Case(
                    webhook_id,
                    name,
                    history,
                    progress,
                    is_wanted=wanted.get(name or ""),
                    is_anothers=owner is not None and owner != name,
                    is_ordered=self._is_ordered(name),
                    now=now,
                    why_not=why_not(self._registry.get(name or ""), progress.event),
                    idle=self._idle(name, now),
                )
            )
            for name in sorted(names, key=lambda name: name or "")
        ]

    def _position(self, webhook_id: str) -> EventPosition:
        position, topics = parse_id(webhook_id), self._definition.source.topics
        if position is None or position[0] not in topics:
            allowed = " or ".join(f"{topic}-<partition>-<offset>" for topic in topics)
            raise ConfigurationError(
                f"webhook-id: {shown(webhook_id)} is not an event of the source; allowed: {allowed}"
            )
        return position

    def _wanted(self, event: Event | None, subscription: str | None) -> dict[str, bool | None]:
        """The event's subscriptions and the requested one. The value says whether the subscription's filter matches."""
        if event is None:
            return {} if subscription is None else {subscription: None}
        if self._definition.routing is Routing.KEY:
            owner = self._owner(event)
            found = None if owner is None else self._registry.get(owner)
            wants = found is None or found.filter is None or found.filter(event)
            names: dict[str, bool | None] = {} if owner is None else {owner: wants}
        else:
            every = self._registry.all() if subscription is None else [self._registry.get(subscription)]
            matching = AddressedMatching(SubscriptionIndex(), self._ids)
            for each in every:
                if each is not None and not _begins_after(each, event):
                    matching.update(each.id, each)
            names = {key.decode(): True for key in matching.keys(event)}
        if subscription is not None:
            names.setdefault(subscription, False)
        return names

    def _is_ordered(self, name: str | None) -> bool:
        found = self._registry.get(name or "")
        return found is not None and found.qos.is_ordered

    def _idle(self, name: str | None, now: float) -> str | None:
        found = self._registry.get(name or "")
        return None if found is None else idleness(found, now)

    def _owner(self, event: Event | None) -> str | None:
        """The subscription that the key of the event names, with `routing: key`."""
        is_key = event is not None and self._definition.routing is Routing.KEY
        return decode_key(event.key or b"") if is_key and event is not None else None

    async def _progress(self, position: EventPosition) -> PartitionProgress:
        topic, number, offset = position
        source = self._definition.source
        async with opened_scan(source.connection, topic, self._seconds, source.isolation_level) as scan:
            if number >= scan.count:
                raise ConfigurationError(
                    f"webhook-id: partition {number} is not in topic {topic}; allowed: 0 to {scan.count - 1}"
                )
            if number not in scan.numbers:
                raise BrokerError(f"topic {topic}: partition {number} has no leader")
            (committed, ahead), rows = await asyncio.gather(self._committed(topic, number), self._rows(topic, number))
            begin, end = (await scan.begins())[number], (await scan.ends())[number]
            event = await _event_at(scan, number, offset) if begin <= offset < end else None
        return PartitionProgress(begin, end, committed, ahead, event, rows)

    async def _committed(self, topic: str, number: int) -> tuple[int | None, int]:
        """The group's committed offset (None if there is none), and the offsets beyond it that are settled."""
        tp = TopicPartition(topic, number)
        async with administration(self._definition.source.connection) as admin:
            found = (await admin.list_consumer_group_offsets(self._app, partitions=[tp])).get(tp)
        if found is None:  # aiokafka hides the error
            raise BrokerError(f"the offsets of the group {self._app} can't be read")
        committed = Committed.read(found.offset, found.metadata)
        if committed.offset is None or committed.settled is None:
            return committed.offset, 0
        try:
            return committed.offset, unpack(committed.settled, committed.offset)
        except ValueError:
            return committed.offset, 0

    async def _rows(self, topic: str, number: int) -> Mapping[str, Cursor | None]:
        source = self._definition.source
        rows = await read_rows(source.connection, cursors_topic(self._app), source.topics)
        place = (topic, number)
        here = [row for row in rows.found if (row.topic, row.partition) == place]
        return {row.key.decode(errors="replace"): row.cursor for row in here}

    async def _history(
        self, position: EventPosition, event: Event | None, names: set[str], *, is_one: bool
    ) -> EventHistory:
        history = EventHistory(position[2])
        connection = self._definition.source.connection
        try:
            async with opened_scan(connection, attempts_topic(self._app), self._seconds) as scan:
                await _Forwards(scan, position, history, names, is_one=is_one).run(event)
        except BrokerError as error:
            history.problem = str(error)
        return history


def why_not(subscription: Subscription | None, event: Event | None) -> str:
    """Why an event is not for a subscription, assuming that it is not."""
    if subscription is not None and event is not None:
        if is_addressed(event):
            return "it was written for another subscription, or for an earlier one with this id"
        if _begins_after(subscription, event):
            return "the subscription begins after the event"
        if subscription.topics is not None and event.topic not in subscription.topics:
            return f"the subscription does not get events of the topic {event.topic}"
    return "the filter does not match the event"


def _begins_after(subscription: Subscription, event: Event) -> bool:
    start = subscription.start_in(event.topic, event.partition, None)
    return start is not None and event.offset < start


async def _event_at(scan: LogScan, number: int, offset: int) -> Event | None:
    try:
        async for events in scan.read(number, offset, offset + 1):
            return events[0] if events[0].offset == offset else None
    except OutOfTime:
        raise BrokerError("the event could not be read in time") from None
    return None


class _Forwards:
    """Reads the log for one event, from the event's timestamp on.

    Args:
        scan: reads the log.
        position: the event's position according to its webhook-id.
        history: collects the records that are found.
        names: the ids of the subscriptions that the event is for.
        is_one: whether the question is about one subscription. If so, reading ends when a delivery is found.
    """

    def __init__(
        self, scan: LogScan, position: EventPosition, history: EventHistory, names: set[str], *, is_one: bool
    ) -> None:
        topic, self._partition, _ = position
        self._origin = topic, self._partition
        self._scan = scan
        self._history = history
        self._names = names
        self._is_one = is_one
        self._late = {key_of(topic, self._partition, is_late=True), SESSION_KEY}
        self._all = {key_of(topic, self._partition, is_late=False), *self._late}
        self._last_ms = 0

    async def run(self, event: Event | None) -> None:
        """Read until a delivery of the event is found, or to the end."""
        scan = self._scan
        number = self._partition % scan.count
        if number not in scan.numbers:
            raise BrokerError(f"its partition {number} has no leader")
        begin, end = (await scan.begins())[number], (await scan.ends())[number]
        at_ms = None if event is None or not 0 < event.timestamp <= time.time() * 1000 else event.timestamp
        start, turn = begin, end
        try:
            if at_ms is not None:
                start = (await scan.offsets_at(at_ms - SLACK_SECONDS * 1000, {number: end}))[number]
                turn_ms = at_ms + (LATE_SECONDS + SLACK_SECONDS) * 1000
                turn = (await scan.offsets_at(turn_ms, {number: end}))[number]
            if start == begin < end:
                await self._record_begin(number, begin, at_ms)
            if not await self._read(number, start, turn, self._all):
                await self._read(number, turn, end, self._late)
        except OutOfTime:
            self._history.read_to = self._last_ms / 1000

    async def _record_begin(self, number: int, begin: int, at_ms: float | None) -> None:
        """If the event may have been settled before the log begins, store when it begins."""
        async for records in self._scan.read(number, begin, begin + 1):
            first, found = records[0], decoded(records[0].value)
            at = found.since if begin == 0 and isinstance(found, Session) else first.timestamp / 1000
            if at_ms is not None and at <= at_ms / 1000:
                return
            if begin == 0:
                self._history.began_at = at
            else:
                self._history.begins_at = at

    async def _read(self, number: int, start: int, end: int, keys: set[bytes]) -> bool:
        """Read a period of the log. Returns whether a delivery of the event was found."""
        async for records in self._scan.read(number, start, end, keys):
            for record in records:
                found = decoded(record.value)
                if found is None:
                    self._history.unreadable += 1
                elif isinstance(found, Session) or (found.topic, found.partition) == self._origin:
                    self._history.add(found)
            self._last_ms = records[-1].timestamp
            if self._is_one and self._is_answered():
                return True
        return self._is_answered()

    def _is_answered(self) -> bool:
        delivered = {each.subscription for each in self._history.entries if each.result.decision == "delivered"}
        return bool(self._names) and delivered >= self._names
