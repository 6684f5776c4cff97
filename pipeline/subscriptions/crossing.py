"""Writes revisions of subscriptions while other processes may write too.

Kafka has no conditional write: if two processes edit the same record, the second write replaces the first, although its
writer has not read it. So each record has a header with the names of the fields that it changes. After a write, the
writer reads the topic to its end and applies all changes in log order. If the newest record lacks a change, the writer
writes the merged subscription:

    record     r0   a1                b1                        b2
    contains        r0 with change a  r0 with another change b  b1 with change a

No change is lost, because the writer of the last record always reads all records. A record without the header changes
all fields; earlier versions and restores write such records. Commands are kept in the same way, in a header of their
own (commands.py).

A conditional write has a header with the revision that it has to follow. If it follows another revision, no reader
applies it, and its writer restores the record that it has overwritten.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from pipeline.config.definition import Definition
from pipeline.core.errors import ConfigurationError, UnknownSubscriptionError, WebhooksError
from pipeline.core.subscription import Command, Routing, Subscription
from pipeline.subscriptions.commands import merged
from pipeline.subscriptions.edits import without_command
from pipeline.subscriptions.envelope import to_document
from pipeline.subscriptions.record_reader import parse_record
from pipeline.subscriptions.registry import ReadRecord, Registry
from pipeline.subscriptions.schema import WireSubscription
from pipeline.subscriptions.secrets import SecretBox
from pipeline.subscriptions.writer import ABSENT, SubscriptionWriter

logger = logging.getLogger(__name__)

NO_REVISION: Final = -2
READ_SECONDS: Final = 5.0
"""How long a writer waits until it has read its own record."""

FIELDS: Final = frozenset(WireSubscription.model_fields) - {"id", "resume_from", "created_revision"}
"""The fields that are merged. A command (`resumeFrom`) belongs to one revision only."""

Make = Callable[[WireSubscription], WireSubscription]
"""Applies a change to a stored subscription. Raises: WebhooksError, the subscription does not allow it."""


@dataclass(frozen=True, slots=True)
class Write:
    """A write of a subscription.

    Attributes:
        new: the new subscription, with plain secrets.
        make: returns the new subscription for a stored one.
        fields: the fields that the write changes.
    """

    new: WireSubscription
    make: Make
    fields: frozenset[str]


@dataclass(slots=True)
class _Crossing:
    """A write, and the records read after it.

    Attributes:
        base: the subscription that was edited; None if there was none, or if it can't be read.
        own: the revision of the write.
    """

    write: Write
    base: WireSubscription | None
    own: int
    plain: Callable[[bytes | None], WireSubscription | None]

    def outcome(self, read: Sequence[ReadRecord]) -> WireSubscription | None:
        """The subscription after all changes; None if they delete it.

        Raises:
            UnknownSubscriptionError: another process deleted the subscription before the write.
            WebhooksError: the subscription that precedes the write in the log does not allow the change.
        """
        state, is_deleted = self.base, False
        for each in read:
            wire = self.plain(each.value)
            if each.revision == self.own:
                wire = self._made(state, is_deleted=is_deleted)
            elif each.fields is not None and wire is not None and state is not None:
                wire = state.model_copy(update={name: getattr(wire, name) for name in each.fields & FIELDS})
            state, is_deleted = wire, each.value is None
        return state

    def _made(self, state: WireSubscription | None, *, is_deleted: bool) -> WireSubscription:
        if is_deleted:
            raise unknown(self.write.new.id)
        return self.write.new if state is None else self.write.make(state)

    def before(self, read: Sequence[ReadRecord]) -> ReadRecord:
        """The record before the write in the log."""
        return read[[each.revision for each in read].index(self.own) - 1]


class Revisions:
    """Writes the revisions of subscriptions.

    Args:
        registry: follows the topic.
        box: encrypts the secrets.
        writer: writes to the same topic.
        definition: the API definition, which has the routing.
    """

    def __init__(self, registry: Registry, box: SecretBox, writer: SubscriptionWriter, definition: Definition) -> None:
        self._registry = registry
        self._box = box
        self._writer = writer
        self._definition = definition

    async def write(
        self,
        subscription: WireSubscription,
        known: Subscription | None,
        fields: frozenset[str] | None = None,
        commands: Sequence[Command] | None = None,
        *,
        after: int | None = None,
        since: int | None = None,
    ) -> int:
        """Write a subscription with plain secrets over the *known* one; returns the revision.

        Args:
            subscription: the new subscription.
            known: the current subscription; None if there is none.
            fields: the fields that the write changes; None: all.
            commands: the commands of earlier revisions; None: those of *known*.
            after: the revision that the write has to follow; None: any.
            since: the write only merges the changes after this revision; None: the write itself is a change.

        Raises:
            BrokerError: the record was not written.
        """
        if commands is None:
            commands = () if known is None else known.commands
        is_for_match = subscription.start is not None or self._definition.stated_routing is not Routing.KEY
        if known is not None and is_for_match:
            subscription = subscription.model_copy(update={"created_revision": known.created})
        document = to_document(self._box.encrypt_secrets(subscription))
        value = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
        return await self._writer.send(subscription.id, value, fields, merged(commands), after=after, since=since)

    async def merged(self, write: Write, known: Subscription | None) -> int:
        """Write over the *known* one, and merge concurrent changes; returns the revision that contains all of them.

        Raises:
            UnknownSubscriptionError: another process deleted the subscription at the same time; it is deleted again.
            WebhooksError: the write failed; or another change does not allow it, and the write was undone.
        """
        name, present = write.new.id, self._registry.get(write.new.id)
        base = None if present is None else self._stored(name)
        if present is not known:  # it has changed since the caller read it
            if present is None or base is None:
                raise unknown(name)
            write = Write(write.make(base), write.make, write.fields)
        with self._registry.records_of(name) as read:
            revision = await self.write(write.new, present, write.fields)
            crossing = _Crossing(write, base, revision, lambda value: self._plain(name, value))
            return await self._completed(crossing, read, None if present is None else present.revision)

    async def undo(
        self, subscription_id: str, base: WireSubscription | None, revision: int | None, read: Sequence[ReadRecord]
    ) -> None:
        """Restore the record that a conditional write has overwritten, because the condition was not met.

        Args:
            subscription_id: the id of the subscription.
            base: the subscription when the condition was checked; None if there was none, or if it can't be read.
            revision: the revision of *base*; None: there was none.
            read: the records since then, including that of the conditional write.

        Raises:
            WebhooksError: the subscription was not written.
        """
        written = (self._plain(subscription_id, each.value) for each in read if each.after is not None)
        new = next(each for each in written if each is not None)
        write = Write(new, lambda stored: stored, frozenset())
        crossing = _Crossing(write, base, NO_REVISION, lambda value: self._plain(subscription_id, value))
        await self._completed(crossing, read, revision)

    async def _completed(self, crossing: _Crossing, read: Sequence[ReadRecord], base: int | None) -> int:
        """Merge the records *read* after revision *base*; returns the revision that contains all changes."""
        name, revision = crossing.write.new.id, crossing.own
        while await self._has_read_on(name, revision) and (len(read) > 1 or revision == NO_REVISION):
            valid = _valid(read, base)
            right, newest = await self._outcome(crossing, valid), self._plain(name, read[-1].value)
            if right is None and newest is not None and valid and valid[-1].value is None:
                await self._writer.send(name, None)
            if right is None or newest is None:
                break  # it is deleted or can't be read
            missing = frozenset(each for each in FIELDS if getattr(right, each) != getattr(newest, each))
            commands = _commands_of(valid)
            if not missing and commands == read[-1].commands:
                break
            known, since = self._registry.get(name), ABSENT if base is None else base
            revision = await self.write(without_command(right), known, missing, commands, since=since)
        return revision

    async def _outcome(self, crossing: _Crossing, read: Sequence[ReadRecord]) -> WireSubscription | None:
        """The merged subscription. Raises the errors of `merged`; first undoes the write if it is the newest record."""
        try:
            return crossing.outcome(read)
        except WebhooksError:
            if read[-1].revision == crossing.own:
                await self.put_back(crossing.write.new.id, crossing.before(read))
                await self._registry.caught_up()
            raise

    async def put_back(self, subscription_id: str, record: ReadRecord) -> None:
        """Write an overwritten record again, without repeating its command.

        Raises:
            BrokerError: the record was not written.
        """
        before = self._plain(subscription_id, record.value)
        if before is None:
            await self._writer.send(subscription_id, record.value)
        else:
            known = self._registry.get(subscription_id)
            await self.write(without_command(before), known, commands=record.commands)

    async def _has_read_on(self, subscription_id: str, revision: int) -> bool:
        try:
            async with asyncio.timeout(READ_SECONDS):
                await self._registry.caught_up()
        except TimeoutError:
            logger.warning(
                "subscription %s: revision %d is written, and could not be read again: if another process has changed "
                "the subscription at the same moment, that change may be lost",
                subscription_id,
                revision,
            )
            return False
        return True

    def _stored(self, subscription_id: str) -> WireSubscription | None:
        with suppress(ConfigurationError):
            return self._registry.wire(subscription_id)
        return None

    def _plain(self, subscription_id: str, value: bytes | None) -> WireSubscription | None:
        """A record with plain secrets; None if it deletes the subscription or can't be read."""
        with suppress(ConfigurationError):
            return None if value is None else self._box.decrypt_secrets(parse_record(subscription_id, value))
        return None


def _valid(read: Sequence[ReadRecord], base: int | None) -> list[ReadRecord]:
    """The records that count. *base*: the revision before the first one.

    Records whose condition was not met are left out. So are records that only merge other changes among *read*: they
    would look like later changes.
    """
    found, previous = [], ABSENT if base is None else base
    first = previous
    for each in read:
        is_merge = each.since is not None and each.since >= first
        if each.after in {None, previous} and not is_merge:
            found.append(each)
        previous = ABSENT if each.revision is None else each.revision
    return found


def _commands_of(read: Sequence[ReadRecord]) -> tuple[Command, ...]:
    """The commands in the records of a subscription since its last deletion."""
    found: tuple[Command, ...] = ()
    for each in read:
        found = () if each.value is None else merged(found, each.commands)
    return found


def unknown(subscription_id: str) -> UnknownSubscriptionError:
    """The error for a subscription that does not exist."""
    return UnknownSubscriptionError(f"there is no subscription {subscription_id!r}")
