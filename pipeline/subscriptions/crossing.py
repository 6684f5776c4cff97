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

A conditional write has a header with the revision that it has to follow. If it follows another revision, it does not
count. An edit that is refused does not count either. The writer then restores the overwritten subscription
(merging.py).

If a subscription is deleted before a late edit, the writer of the edit deletes it again. Another process may have
created the subscription anew in between. So the second deletion has the headers of a merge, and does not count.
"""

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from pipeline.config.definition import Definition
from pipeline.core.errors import BrokerError, ConfigurationError, WebhooksError
from pipeline.core.subscription import Command, Routing, Subscription
from pipeline.subscriptions.commands import merged
from pipeline.subscriptions.edits import without_command
from pipeline.subscriptions.envelope import to_document
from pipeline.subscriptions.merging import Crossing, Make, unknown
from pipeline.subscriptions.read_record import ReadRecord
from pipeline.subscriptions.record_reader import parse_record
from pipeline.subscriptions.registry import Registry
from pipeline.subscriptions.schema import WireSubscription
from pipeline.subscriptions.secrets import SecretBox
from pipeline.subscriptions.writer import NO_REVISIONS, READ_HEADER, SINCE_HEADER, UNDOES_HEADER, SubscriptionWriter

logger = logging.getLogger(__name__)

READ_SECONDS: Final = 5.0
"""How long a writer waits until it has read its own record."""


@dataclass(frozen=True, slots=True)
class Write:
    """A write of a subscription.

    Attributes:
        new: the new subscription, with plain secrets.
        make: returns the new subscription for a stored one.
    """

    new: WireSubscription
    make: Make
    fields: frozenset[str]


class Revisions:
    """Writes the revisions of subscriptions.

    Args:
        registry: follows the topic.
        box: encrypts the secrets.
        writer: writes to the same topic.
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
        revisions: Mapping[str, int | None] = NO_REVISIONS,
    ) -> int:
        """Write a subscription with plain secrets over the *known* one; returns the revision.

        Args:
            subscription: the new subscription.
            known: the current subscription; None if there is none.
            fields: the fields that the write changes; None: all.
            commands: the commands of earlier revisions; None: those of *known*.
            revisions: the revisions to which the write relates, by the name of a header (writer.py).

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
        return await self._writer.send(subscription.id, value, fields, merged(commands), revisions)

    async def merged(self, write: Write, known: Subscription | None) -> int:
        """Write over the *known* subscription, and merge concurrent changes. Returns the revision with all changes.

        Raises:
            UnknownSubscriptionError: another process deleted the subscription at the same time; it is deleted again.
            WebhooksError: the write failed; or another change does not allow it, and the write was undone.
        """
        name, present = write.new.id, self._registry.present(write.new.id)
        base = None if present is None else self._stored(name)
        if present is not known:  # the subscription has changed since the caller read it
            if present is None or base is None:
                raise unknown(name)
            write = Write(write.make(base), write.make, write.fields)
        with self._registry.records_of(name) as read:
            own = await self.write(write.new, present, write.fields)
            crossing = Crossing(present, base, read, partial(self._plain, name), own, write.make)
            try:
                return await self._completed(name, crossing, own)
            except BrokerError:
                raise
            except WebhooksError:
                await self._completed(name, replace(crossing, own=None, refused=own), own)
                raise

    async def undo(
        self,
        revision: int,
        name: str,
        base: WireSubscription | None,
        known: Subscription | None,
        read: Sequence[ReadRecord],
    ) -> None:
        """Restore the subscription that a conditional write has overwritten, because the condition was not met.

        Args:
            revision: the revision of the conditional write.
            name: the id of the subscription.
            base: the subscription when the condition was checked; None if there was none, or if it can't be read.
            known: this subscription in the form that workers use; None if there was none.
            read: the records since then, including that of the conditional write.

        Raises:
            WebhooksError: the subscription was not written.
        """
        await self._completed(name, Crossing(known, base, read, partial(self._plain, name)), revision)

    async def _completed(self, name: str, crossing: Crossing, revision: int) -> int:
        """Write until the newest record contains all changes that count; returns its revision.

        Raises:
            BrokerError: a record was not written.
            WebhooksError: the write is refused by the subscription that precedes it in the log.
        """
        while await self._has_read_on(name, revision):
            lacking = crossing.lacking()
            if lacking is None:
                break
            related = {
                SINCE_HEADER: crossing.first,
                READ_HEADER: crossing.read[-1].revision,
                UNDOES_HEADER: crossing.refused,
            }
            if lacking.right is None:
                await self._writer.send(name, None, revisions=related)
                continue
            revision = await self.write(
                without_command(lacking.right), self._registry.get(name), lacking.fields, lacking.commands, related
            )
        return revision

    async def _has_read_on(self, subscription_id: str, revision: int) -> bool:
        try:
            async with asyncio.timeout(READ_SECONDS):
                await self._registry.caught_up()
        except TimeoutError:
            logger.warning(
                "subscription %s: revision %d was written but could not be read back: if another process changed "
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
