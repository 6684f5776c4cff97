"""Changes subscriptions. Each change is a new record of the compacted topic; its offset is the revision.

Any process may write. An edit first reads the topic to its end, so that it builds on all earlier records. If two
processes change a subscription at the same time, the later writer merges the earlier change into its own (crossing.py).
But a change with a `Condition` is undone: the writer writes a record without the change.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from pipeline.config.definition import Definition
from pipeline.core.clock import Clock, SystemClock
from pipeline.core.errors import ConfigurationError, UnknownSubscriptionError, WebhooksError
from pipeline.core.subscription import Subscription
from pipeline.http.ssrf_guard import Guard
from pipeline.kafka.connection import KafkaConnection
from pipeline.subscriptions import edits
from pipeline.subscriptions.advisories import idleness
from pipeline.subscriptions.checks import Checked, Checks, built_on
from pipeline.subscriptions.crossing import Revisions, Write
from pipeline.subscriptions.edits import ALWAYS, Change, Condition, Edit
from pipeline.subscriptions.envelope import parse_subscription, to_document
from pipeline.subscriptions.merging import unknown
from pipeline.subscriptions.read_record import FIELDS
from pipeline.subscriptions.registry import Registry
from pipeline.subscriptions.schema import WireSubscription
from pipeline.subscriptions.secrets import SecretBox
from pipeline.subscriptions.start_offsets import StartOffsets
from pipeline.subscriptions.writer import ABSENT as ABSENT_REVISION
from pipeline.subscriptions.writer import AFTER_HEADER, OnWritten, SubscriptionWriter, unheard

TOGETHER: Final = 500
"""The number of concurrent writes. Each write waits for a broker, and then until its record has been read again."""

Tell = Callable[[str, Change | WebhooksError], None]


class SubscriptionStore:
    """Carries out the commands on subscriptions.

    Args:
        registry: follows the same topic; started by the caller.
        topic: `<app>.subscriptions`.
        box: encrypts the secrets.
        clock: the time against which `endingAt` is checked.
        guard: the address guard of the workers, which warns about callbacks that it refuses; None: no such warnings.
        on_written: called with the id and the new revision after each write.
    """

    def __init__(
        self,
        registry: Registry,
        connection: KafkaConnection,
        topic: str,
        box: SecretBox,
        definition: Definition,
        *,
        clock: Clock | None = None,
        guard: Guard | None = None,
        on_written: OnWritten = unheard,
    ) -> None:
        self._registry = registry
        self._box = box
        self._definition = definition
        self._clock = clock or SystemClock()
        self._checks = Checks(registry, definition, self._clock, guard)
        self._writer = SubscriptionWriter(connection, topic, on_written)
        self._revisions = Revisions(registry, box, self._writer, definition)
        self._turn = asyncio.Lock()

    async def open(self) -> None:
        """Connect.

        Raises:
            BrokerError: no broker answers.
        """
        await self._writer.open()

    async def close(self) -> None:
        """Disconnect."""
        await self._writer.close()

    async def get(self, subscription_id: str) -> dict[str, Any]:
        """The subscription as users see it: with secrets masked, and its `revision`.

        Raises:
            UnknownSubscriptionError: there is no such subscription.
        """
        await self._registry.caught_up()
        document = self._registry.masked(subscription_id)
        if document is None:
            raise unknown(subscription_id)
        return document

    def stored(self, ids: Iterable[str]) -> tuple[Sequence[dict[str, Any]], Sequence[str]]:
        """The documents with encrypted secrets, for a backup; and for each unreadable document, the reason.

        `opened` and `apply` restore a document. It has no `resumeFrom`, which is a command of one revision only.
        """
        found: list[dict[str, Any]] = []
        problems: list[str] = []
        for name in ids:
            try:
                document = self._registry.stored(name)
            except ConfigurationError as error:
                problems += (f"{name}: {problem}" for problem in error.problems)
            else:
                found += [] if document is None else [{**document, "resumeFrom": None}]
        return found, problems

    def opened(self, document: object) -> object:
        """Decrypt the secrets that `stored` left encrypted. Returns *document* itself if there are none.

        Raises:
            ConfigurationError: a secret can't be decrypted or belongs to another subscription, or the document can't be
                used.
        """
        wanted = parse_subscription(document)
        found = self._box.decrypt_secrets(wanted)
        return document if found is wanted else to_document(found)

    async def subscription(self, subscription_id: str) -> Subscription:
        """The subscription in the form that workers use. Raises the errors of `get`."""
        await self._registry.caught_up()
        found = self._registry.get(subscription_id)
        if found is None:
            raise unknown(subscription_id)
        return found

    async def list(self) -> list[dict[str, Any]]:
        """All subscriptions, by id, in the form that `get` returns."""
        await self._registry.caught_up()
        found = (self._registry.masked(subscription.id) for subscription in self._registry.all())
        return [document for document in found if document is not None]

    async def apply(self, document: object, condition: Condition = ALWAYS) -> Change:
        """Create or replace a subscription. An unchanged subscription is not written.

        Fields that the document leaves out get their defaults, but `status` and `consumerStatus` keep their values, so
        that applying a file again does not undo a pause. Masked secrets keep their values, too. A `resumeFrom` that
        equals the stored one is not a new command, because `get` shows it as part of the document.

        Raises:
            ConfigurationError: the subscription can't be used; one sentence per mistake.
            PreconditionError: the condition is not met.
            BrokerError: the change could not be written.
        """
        wanted = parse_subscription(document)

        async def apply(after: int | None) -> Change:
            starts = StartOffsets(self._definition)
            [outcome] = await self._apply_together([wanted], starts, after)
            if isinstance(outcome, WebhooksError):
                raise outcome
            return outcome

        return await self._if_met(condition, wanted.id, apply)

    async def apply_all(self, documents: Iterable[object]) -> AsyncIterator[Change]:
        """Apply subscriptions in the given order, as `apply` does, with up to `TOGETHER` concurrent writes.

        Yields each change once the broker has confirmed it. If a write fails, later writes that have begun may still
        succeed. Raises the errors of `apply`.
        """
        starts = StartOffsets(self._definition)
        for batch in edits.batches(map(parse_subscription, documents), TOGETHER):
            async with self._turn:
                await self._registry.caught_up()
                outcomes = await self._apply_together(batch, starts)
            for outcome in outcomes:
                if isinstance(outcome, WebhooksError):
                    raise outcome
                yield outcome

    async def _apply_together(
        self, batch: Sequence[WireSubscription], starts: StartOffsets, after: int | None = None
    ) -> Sequence[Change | WebhooksError]:
        """Apply subscriptions with different ids. All are checked before the first is written.

        With *after*, a record counts only if it follows this revision. Without *after*, changes that other processes
        make at the same time are merged.
        """
        checked = [await self._checks.checked(wanted) for wanted in batch]
        await starts.look_up(each.wanted for each in checked if each.known is None)
        return await asyncio.gather(*(self._carry_out(each, starts, after) for each in checked))

    async def _carry_out(self, checked: Checked, starts: StartOffsets, after: int | None) -> Change | WebhooksError:
        wanted, known, stored = checked.wanted, checked.known, checked.stored
        if known is not None and checked.what == "unchanged":
            return Change(wanted.id, known.revision, "unchanged", checked.advisory)
        new = starts.begun(wanted) if known is None else wanted
        remark = starts.remark(wanted) if known is None else None
        fields = FIELDS if known is None else FIELDS - edits.kept(checked.asked)
        if stored is not None and wanted.configuration == stored.configuration:
            fields -= {"configuration"}  # so that this write undoes no secret that another process changes
        write = Write(edits.without_old_command(new, stored), partial(built_on, checked.asked), fields)
        try:
            if after is None:
                revision = await self._revisions.merged(write, known)
            else:
                revision = await self._revisions.write(write.new, known, fields, revisions={AFTER_HEADER: after})
        except UnknownSubscriptionError:  # another process deleted it
            [outcome] = await self._apply_together([checked.asked], starts)
            return outcome
        except WebhooksError as error:
            return error
        noted = "; ".join(filter(None, (checked.advisory, remark))) or None
        return Change(wanted.id, revision, checked.what, noted)

    async def check(self, document: object) -> Checked:
        """What `apply` would do with a subscription, given the records read so far. Writes nothing.

        Raises:
            ConfigurationError: the subscription can't be used; one sentence per mistake.
        """
        await asyncio.sleep(0)  # a caller may check many subscriptions, and most checks await nothing else
        return await self._checks.checked(parse_subscription(document))

    async def delete(self, subscription_id: str, condition: Condition = ALWAYS) -> Change:
        """Delete a subscription and its rows; its events then belong to an unknown subscription.

        A deletion can't be undone, because workers drop the waiting events at once. So with a condition, the
        subscription is first written unchanged, because that write can be undone.

        Raises:
            UnknownSubscriptionError: there is no such subscription.
            PreconditionError: the condition is not met.
            BrokerError: the change could not be written.
        """

        async def delete(_after: int | None) -> Change:
            if self._registry.get(subscription_id) is None:
                raise unknown(subscription_id)
            return Change(subscription_id, await self._writer.send(subscription_id, None), "deleted")

        if condition != ALWAYS:
            same = await self._if_met(condition, subscription_id, partial(self._write_again, subscription_id))
            condition = Condition(frozenset({same.revision}))
        return await self._if_met(condition, subscription_id, delete)

    async def _write_again(self, subscription_id: str, after: int | None) -> Change:
        known, stored = self._registry.get(subscription_id), self._checks.readable(subscription_id)
        if known is None:
            raise unknown(subscription_id)
        if stored is None:
            return Change(subscription_id, known.revision, "unchanged")  # its record can't be read
        revision = await self._revisions.write(
            edits.without_command(stored), known, frozenset(), revisions={AFTER_HEADER: after}
        )
        return Change(subscription_id, revision, "updated")

    async def _if_met(
        self, condition: Condition, subscription_id: str, change: Callable[[int | None], Awaitable[Change]]
    ) -> Change:
        """Make a change if the condition is met.

        Undo the change if the condition no longer held when the change was written.
        """
        async with self._turn:
            await self._registry.caught_up()
            if condition == ALWAYS:
                return await change(None)
            with self._registry.records_of(subscription_id) as read:
                known, newest = self._registry.present(subscription_id), self._registry.get(subscription_id)
                condition.check(subscription_id, None if known is None else known.revision)
                base = None if known is None else self._checks.readable(subscription_id)
                changed = await change(ABSENT_REVISION if newest is None else newest.revision)
                if changed.what == "unchanged":
                    return changed
                await self._registry.caught_up()
                is_stale = read[0].revision != changed.revision
                if is_stale and changed.what != "deleted":
                    await self._revisions.undo(changed.revision, subscription_id, base, known, read)
                    raise edits.taken_back(subscription_id)
        return changed

    async def reencrypt(self, subscription_id: str) -> Change:
        """Write the subscription again if a secret is not encrypted with the first key and bound to its field.

        The desired state does not change, but the new revision clears a FAILURE.

        Raises:
            UnknownSubscriptionError: there is no such subscription.
            ConfigurationError: the subscription's record can't be read or decrypted.
            BrokerError: the change could not be written.
        """
        async with self._turn:
            await self._registry.caught_up()
            known, stored = self._registry.get(subscription_id), self._registry.wire(subscription_id)
            if known is None or stored is None:
                raise unknown(subscription_id)
            if self._registry.is_newest(subscription_id):
                return Change(subscription_id, known.revision, "unchanged")
            write = Write(edits.without_command(stored), edits.without_command, frozenset())
            return Change(subscription_id, await self._revisions.merged(write, known), "updated")

    async def edit(self, subscription_id: str, edit: Edit) -> Change:
        """Make an edit.

        Raises:
            UnknownSubscriptionError: there is no such subscription.
            ConfigurationError: the subscription's record can't be read.
            BrokerError: the change could not be written.
            ConflictError: the subscription is closed.
        """
        async with self._turn:
            await self._registry.caught_up()
            return await self._edit(subscription_id, edit)

    async def edit_all(self, wanted: Mapping[str, Edit], tell: Tell) -> None:
        """Make edits of several subscriptions, written together.

        *tell* is called with each id and its change, or the error of its edit, as soon as this is known. So a caller
        that stops waiting still has the changes that the broker has confirmed.
        """
        async with self._turn:
            await self._registry.caught_up()
            await asyncio.gather(*(self._tried(name, edit, tell) for name, edit in wanted.items()))

    async def _tried(self, subscription_id: str, edit: Edit, tell: Tell) -> None:
        try:
            tell(subscription_id, await self._edit(subscription_id, edit))
        except WebhooksError as error:
            tell(subscription_id, error)

    async def _edit(self, subscription_id: str, edit: Edit) -> Change:
        known = edit.seen(self._registry.present(subscription_id))
        stored = None if known is None else self._registry.wire(subscription_id)
        if known is None or stored is None:
            raise unknown(subscription_id)
        wanted = edit.made(stored)
        if not edit.always and edits.is_same(wanted, stored):
            return Change(subscription_id, known.revision, "unchanged")
        write = Write(wanted, edit.made, frozenset(edit.update))
        return Change(
            subscription_id, await self._revisions.merged(write, known), "updated", self._idle(edit, known.id)
        )

    def _idle(self, edit: Edit, subscription_id: str) -> str | None:
        """Why a subscription still delivers nothing after an edit that tells it to continue; None if it delivers."""
        found = self._registry.get(subscription_id)
        return None if found is None or not edit.always else idleness(found, self._clock.now())
