"""Knows all subscriptions: every worker follows the compacted topic in which they are stored.

Each record is decrypted and turned into a `Subscription` once, on arrival. A record that can't be used becomes a
subscription with a `problem`, so that its events wait.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from pipeline.config.definition import Definition
from pipeline.core.bounded import Bounded
from pipeline.core.clock import Clock, SystemClock
from pipeline.core.errors import BrokerError, ConfigurationError, ConflictError
from pipeline.core.keys import decode_key
from pipeline.core.model import Event
from pipeline.core.subscription import Subscription
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.tail import Tail
from pipeline.subscriptions.envelope import to_document
from pipeline.subscriptions.read_record import ReadRecord, read_headers
from pipeline.subscriptions.record_reader import RecordReader, may_be_encrypted, parse_record
from pipeline.subscriptions.schema import WireSubscription
from pipeline.subscriptions.secrets import SecretBox, mask

logger = logging.getLogger(__name__)

MOST_DELETED: Final = 10_000
"""How many deleted subscriptions are remembered, to recognise late edits of them."""

OnChange = Callable[[str, Subscription | None], None]
"""Arguments: id, newest revision of the subscription; None if it was deleted."""


def _unheard(_id: str, _subscription: Subscription | None) -> None:
    """Placeholder callback for a registry that is only read."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A record of the topic, and the subscription that it became."""

    value: bytes
    subscription: Subscription


class Registry:
    """The subscriptions of one cluster.

    Args:
        topic: `<app>.subscriptions`, one partition.
        box: decrypts the secrets.
        definition: the API definition, which defines the defaults of fields that subscriptions leave out.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        topic: str,
        box: SecretBox,
        definition: Definition,
        *,
        clock: Clock | None = None,
    ) -> None:
        self._tail = Tail(connection, topic, self._take, clock or SystemClock())
        self._reader = RecordReader(box, definition, self._keep)
        self._box = box
        self._on_change: OnChange = _unheard
        self._entries: dict[str, _Entry] = {}
        self._heard: dict[str, list[ReadRecord]] = {}
        self._headers: dict[int, ReadRecord] = {}  # by revision, until the record has been read; the value is not kept
        self._deleted: Bounded[str, int] = Bounded(MOST_DELETED)  # the revisions that deleted them
        self._recreated: Bounded[str, int] = Bounded(MOST_DELETED)  # the revisions that created them again
        self._late: set[str] = set()  # the ids whose records are only edits of a deleted subscription
        self._is_stopped = False
        self._ids: tuple[str, ...] | None = None  # a cache, cleared when an id is added or removed

    @property
    def is_current(self) -> bool:
        """Whether the topic has been read to the end that it had at the start, and its broker still answers."""
        return self._tail.is_current and not self._reader.waits_below(self._tail.first_end)

    @property
    def read_to(self) -> int:
        """Every record before this revision has been processed."""
        return self._reader.waits_from(self._tail.position)

    @property
    def last_error(self) -> str | None:
        """A sentence about the current problem with the topic or its broker; None if there is none."""
        return self._tail.last_error

    async def start(self, on_change: OnChange = _unheard) -> None:
        """Start following the topic in the background.

        Args:
            on_change: called for every change, from the first record on, in log order for each subscription. It must
                not raise.
        """
        self._on_change = on_change
        await self._tail.start()

    async def stop(self) -> None:
        """Stop following; pending waits raise `BrokerError`."""
        self._is_stopped = True
        await self._tail.stop()
        await self._reader.close()

    async def ready(self) -> None:
        """Wait until the topic has been read to the end that it had at the start.

        Raises:
            BrokerError: the registry was stopped.
        """
        await self._tail.ready()
        await self._parsed()

    async def caught_up(self) -> None:
        """Wait until all records that are now in the topic have been read. Failures of the broker do not end the wait.

        Raises:
            BrokerError: the registry was stopped.
        """
        await self._tail.caught_up()
        await self._parsed()

    def __len__(self) -> int:
        """How many subscriptions there are."""
        return len(self._entries)

    def get(self, subscription_id: str) -> Subscription | None:
        """The newest revision of a subscription; None if there is no such subscription."""
        entry = self._entries.get(subscription_id)
        return None if entry is None else entry.subscription

    def present(self, subscription_id: str) -> Subscription | None:
        """Like `get`, but None for a deleted subscription of which only a late edit exists.

        The writer of the edit is about to delete the subscription again, so no other writer may build on the edit.
        """
        return None if subscription_id in self._late else self.get(subscription_id)

    def recreated_at(self, subscription_id: str) -> int | None:
        """The revision that created a subscription again after its last deletion; None if unknown.

        Whatever concerns an older revision concerns a deleted subscription with the same id.
        """
        return self._recreated.get(subscription_id)

    def all(self) -> list[Subscription]:
        """All subscriptions, by id."""
        return [self._entries[name].subscription for name in self.ids()]

    def ids(self) -> Sequence[str]:
        """The ids of all subscriptions, sorted."""
        if self._ids is None:
            self._ids = tuple(sorted(self._entries))
        return self._ids

    def masked(self, subscription_id: str) -> dict[str, Any] | None:
        """The subscription as users see it: its document with secrets masked, `revision`, and `problem` if any."""
        entry = self._entries.get(subscription_id)
        if entry is None:
            return None
        subscription = entry.subscription
        try:
            document = to_document(mask(parse_record(subscription_id, entry.value)))
        except ConfigurationError:
            document = {"id": subscription_id}
        document["revision"] = subscription.revision
        if subscription.problem is not None:
            document["problem"] = subscription.problem
        return document

    def stored(self, subscription_id: str) -> dict[str, Any] | None:
        """The subscription as its record has it, with encrypted secrets. None if there is no such subscription.

        Raises:
            ConfigurationError: the subscription's record can't be read.
        """
        entry = self._entries.get(subscription_id)
        return None if entry is None else to_document(parse_record(subscription_id, entry.value))

    @contextmanager
    def records_of(self, subscription_id: str) -> Iterator[list[ReadRecord]]:
        """Collect the records of a subscription that are read from now on, in log order. Only one caller at a time."""
        heard: list[ReadRecord] = []
        self._heard[subscription_id] = heard
        try:
            yield heard
        finally:
            del self._heard[subscription_id]

    def is_newest(self, subscription_id: str) -> bool:
        """Whether all secrets of the subscription are encrypted with the first key.

        Also True if it has no secrets, or does not exist.

        Raises:
            ConfigurationError: the subscription's record can't be read.
        """
        entry = self._entries.get(subscription_id)
        return entry is None or self._box.is_newest(parse_record(subscription_id, entry.value))

    def wire(self, subscription_id: str) -> WireSubscription | None:
        """The subscription as it was applied, with decrypted secrets. The store edits it.

        Raises:
            ConflictError: the subscription's record can't be read or decrypted.
        """
        entry = self._entries.get(subscription_id)
        try:
            return None if entry is None else self._box.decrypt_secrets(parse_record(subscription_id, entry.value))
        except ConfigurationError as error:
            raise ConflictError(error.problems) from None

    def may_have_secrets(self, subscription_id: str) -> bool:
        """Whether the subscription's record seems to have encrypted secrets. False if there is no such subscription."""
        entry = self._entries.get(subscription_id)
        return entry is not None and may_be_encrypted(entry.value)

    async def resolve(self, subscription: WireSubscription) -> Subscription:
        """A subscription with plain secrets, as workers would use it after it was written.

        Raises:
            ConfigurationError: a value can't be used; names the field, never a secret.
        """
        return await self._reader.resolve(subscription)

    def _take(self, record: Event) -> None:
        subscription_id = decode_key(record.key or b"")
        if subscription_id is None:
            logger.warning("topic %s: the key of record %d is not a subscription id", record.topic, record.offset)
            return
        if record.headers:
            self._headers[record.offset] = read_headers(record.headers, record.offset)
        self._reader.take(subscription_id, record.value, record.offset)

    def _keep(
        self, subscription_id: str, revision: int, value: bytes | None, subscription: Subscription | None
    ) -> None:
        record = replace(self._headers.pop(revision, ReadRecord(revision, None)), value=value)
        if subscription is not None:
            if record.commands:
                subscription = replace(subscription, earlier=record.commands)
            record = replace(record, commands=subscription.commands)
        if subscription_id in self._heard:
            self._heard[subscription_id].append(record)
        self._find_late(subscription_id, record)
        if value is None or subscription is None:
            if self._entries.pop(subscription_id, None) is not None:
                self._ids = None
                self._on_change(subscription_id, None)
            return
        if subscription_id not in self._entries:
            self._ids = None
        self._entries[subscription_id] = _Entry(value, subscription)
        self._on_change(subscription_id, subscription)

    def _find_late(self, subscription_id: str, record: ReadRecord) -> None:
        """Find out whether a record is only an edit of a deleted subscription."""
        former, deleted_at = self.get(subscription_id), self._deleted.get(subscription_id)
        if record.value is None:
            self._deleted[subscription_id] = record.revision
            self._late.discard(subscription_id)
        elif deleted_at is None:
            return
        elif record.creates(None if former is None else former.revision, deleted_at):
            del self._deleted[subscription_id]
            self._recreated[subscription_id] = record.revision
            self._late.discard(subscription_id)
        elif former is None:
            self._late.add(subscription_id)

    async def _parsed(self) -> None:
        """Wait until all records received so far are parsed. Raises: BrokerError, if the registry was stopped."""
        await self._reader.parsed()
        if self._is_stopped:
            raise BrokerError("the registry of subscriptions was stopped")
