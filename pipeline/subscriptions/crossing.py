"""Writes revisions of subscriptions, while other processes do so too.

Kafka can't compare and write in one step: of two processes that build on the same record, the later one overwrites the
earlier one without having read it. Therefore each record says in a header which fields it changes. Whoever has written
reads on, makes the changes one after another as they stand in the log, and writes again what the newest record lacks:

    log   r0    a1          b1                         b2
          base  one change  another one, also of r0    b1 with what a1 changed

The writer of the last record always reads all of them, so nothing is lost. A record without the header (of an earlier
version, or a restored one) changes all fields.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from pipeline.config.definition import Definition
from pipeline.core.errors import ConfigurationError, UnknownSubscriptionError, WebhooksError
from pipeline.core.subscription import Routing, Subscription
from pipeline.subscriptions.edits import without_command
from pipeline.subscriptions.envelope import to_document
from pipeline.subscriptions.record_reader import parse_record
from pipeline.subscriptions.registry import ReadRecord, Registry
from pipeline.subscriptions.schema import WireSubscription
from pipeline.subscriptions.secrets import SecretBox
from pipeline.subscriptions.writer import SubscriptionWriter

logger = logging.getLogger(__name__)

READ_SECONDS: Final = 5.0
"""How long a change that is written waits until it is read again."""

FIELDS: Final = frozenset(WireSubscription.model_fields) - {"id", "resume_from", "created_revision"}
"""What may cross. A command (`resumeFrom`) is for one revision alone."""

Make = Callable[[WireSubscription], WireSubscription]
"""Makes a change of a stored subscription. Raises: WebhooksError, it does not allow that."""


@dataclass(frozen=True, slots=True)
class Write:
    """A write of a subscription.

    Attributes:
        new: what is written, with plain secrets.
        make: makes it of what is stored.
        fields: those that it changes.
    """

    new: WireSubscription
    make: Make
    fields: frozenset[str]


@dataclass(slots=True)
class _Crossing:
    """A write, and the records that were read since.

    Attributes:
        base: what it was built on; None: nothing, or what can't be read.
        own: its revision.
        repairs: the revisions of what was written again after it.
    """

    write: Write
    base: WireSubscription | None
    own: int
    plain: Callable[[bytes | None], WireSubscription | None]
    repairs: set[int] = field(default_factory=set)

    def outcome(self, read: Sequence[ReadRecord]) -> WireSubscription | None:
        """The subscription after all changes; None if it is deleted.

        Raises:
            UnknownSubscriptionError: it was deleted before the write.
            WebhooksError: what was before the write does not allow it.
        """
        state, is_deleted = self.base, False
        for each in read:
            if each.revision in self.repairs:
                continue
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
        """The record that the write has overwritten."""
        return read[[each.revision for each in read].index(self.own) - 1]


class Revisions:
    """Writes the revisions of subscriptions.

    Args:
        registry: follows the topic.
        box: encrypts the secrets.
        writer: of the same topic.
        definition: says the routing.
    """

    def __init__(self, registry: Registry, box: SecretBox, writer: SubscriptionWriter, definition: Definition) -> None:
        self._registry = registry
        self._box = box
        self._writer = writer
        self._definition = definition

    async def write(
        self, subscription: WireSubscription, known: Subscription | None, fields: frozenset[str] | None = None
    ) -> int:
        """Write a subscription with plain secrets over the *known* one; its revision.

        Args:
            subscription: what is written.
            known: the present one.
            fields: those that are changed; None: all.

        Raises:
            BrokerError: it was not written.
        """
        is_for_match = subscription.start is not None or self._definition.stated_routing is not Routing.KEY
        if known is not None and is_for_match:
            subscription = subscription.model_copy(update={"created_revision": known.created})
        document = to_document(self._box.seal(subscription))
        value = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
        return await self._writer.send(subscription.id, value, fields)

    async def merged(self, write: Write, known: Subscription | None) -> int:
        """Write over the *known* one, and add what was changed at the same moment; the revision that has all of it.

        Raises:
            UnknownSubscriptionError: it was deleted at the same moment, and is deleted again.
            WebhooksError: another change does not allow this one, which is taken back; or it was not written.
        """
        name, present = write.new.id, self._registry.get(write.new.id)
        base = None if present is None else self._stored(name)
        if present is not known:  # it was changed while this change was prepared
            if present is None or base is None:
                raise unknown(name)
            write = Write(write.make(base), write.make, write.fields)
        with self._registry.records_of(name) as read:
            revision = await self.write(write.new, present, write.fields)
            crossing = _Crossing(write, base, revision, lambda value: self._plain(name, value))
            while await self._has_read_on(name, revision) and len(read) > 1:
                right, newest = await self._outcome(crossing, read), self._plain(name, read[-1].value)
                if right is None or newest is None:
                    break  # it is deleted, or nobody can build on it
                missing = frozenset(each for each in FIELDS if getattr(right, each) != getattr(newest, each))
                if not missing:
                    break
                revision = await self.write(without_command(right), self._registry.get(name), missing)
                crossing.repairs.add(revision)
        return revision

    async def _outcome(self, crossing: _Crossing, read: Sequence[ReadRecord]) -> WireSubscription | None:
        """What should be there now. Raises as `merged` does, after the write is taken back if it is the newest."""
        try:
            return crossing.outcome(read)
        except WebhooksError:
            if read[-1].revision == crossing.own:
                name, before = crossing.write.new.id, self._plain(crossing.write.new.id, crossing.before(read).value)
                if before is None:
                    await self._writer.send(name, None)
                else:
                    await self.write(without_command(before), self._registry.get(name))
                await self._registry.caught_up()
            raise

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
            return None if value is None else self._box.open(parse_record(subscription_id, value))
        return None


def unknown(subscription_id: str) -> UnknownSubscriptionError:
    """The error about a subscription that does not exist."""
    return UnknownSubscriptionError(f"there is no subscription {subscription_id!r}")
