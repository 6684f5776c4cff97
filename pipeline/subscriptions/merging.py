"""Finds out what the newest record of a subscription lacks, if several processes wrote at the same time. Pure.

The changes of all records are applied in the order of the log. Each writer does this with the records since the
revision that it edited, so all writers have to agree on which records count. These records do not count:

- A conditional write that does not follow the revision that it names in a header.
- An edit that is refused because the subscription was closed just before. Only the writer of the edit knows this, and
  names the edit in a header of the next record.
- An edit of a deleted subscription.
- A record that only deletes the subscription again, after a late edit.
- A record that only merges the changes of others. If its writer had edited an older revision, it may have changes that
  the reader does not know. In this case it counts, but without the fields that were changed by earlier records that the
  reader knows. The fields of a refused edit do not count either, if the writer did not know of the refusal.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from pipeline.core.errors import UnknownSubscriptionError
from pipeline.core.shown import shown
from pipeline.core.subscription import Command, Subscription
from pipeline.subscriptions.commands import merged
from pipeline.subscriptions.edits import without_command
from pipeline.subscriptions.read_record import FIELDS, ReadRecord
from pipeline.subscriptions.schema import WireSubscription
from pipeline.subscriptions.writer import ABSENT

Make = Callable[[WireSubscription], WireSubscription]
"""Applies a change to a stored subscription. Raises: WebhooksError, if the subscription does not allow it."""


@dataclass(frozen=True, slots=True)
class Lacking:
    """What the newest record of a subscription lacks.

    Attributes:
        right: the subscription after all changes that count; None if they delete it.
        fields: the fields that may have changed.
    """

    right: WireSubscription | None
    fields: frozenset[str] = frozenset()
    commands: tuple[Command, ...] = ()


@dataclass(frozen=True, slots=True)
class Crossing:
    """The records of a subscription since it was edited.

    Attributes:
        known: the subscription before these records; None if there was none.
        base: *known* with plain secrets; None if there was none, or if it can't be read.
        read: the records, in log order. The list grows.
        plain: returns a record with plain secrets; None if it deletes the subscription or can't be read.
        own: the revision of the write that is completed; None if it does not count.
        make: applies that write.
        refused: the revision of a write that does not count because it was refused.
    """

    known: Subscription | None
    base: WireSubscription | None
    read: Sequence[ReadRecord]
    plain: Callable[[bytes | None], WireSubscription | None]
    own: int | None = None
    make: Make = without_command
    refused: int | None = None

    @property
    def first(self) -> int:
        """The revision before the records."""
        return ABSENT if self.known is None else self.known.revision

    def lacking(self) -> Lacking | None:
        """What the newest record lacks; None if it lacks nothing.

        Raises:
            WebhooksError: the write is refused by the subscription that precedes it in the log.
        """
        if [each.revision for each in self.read] == [self.own]:
            return None
        refused = {self.refused, *(each.undoes for each in self.read)} - {None}
        found, newest = self._applied(refused), self.plain(self.read[-1].value)
        if found.is_deleted:
            return None if newest is None else Lacking(None)
        if found.wire is not None and self.read[-1].value is None:  # a late edit's writer did not know of a creation
            return Lacking(found.wire, FIELDS, found.commands)
        if found.wire is None or newest is None:
            return None  # it can't be read
        missing = frozenset(each for each in FIELDS if getattr(found.wire, each) != getattr(newest, each))
        commands = tuple(each for each in found.commands if each.revision not in refused)
        is_told = self.refused in {None, *(each.undoes for each in self.read)}
        if not missing and commands == self.read[-1].commands and is_told:
            return None
        # Another writer may have edited any of these records, even a refused one, without the changes before it.
        changed = missing.union(*(each.changed for each in self.read if each.since is None))
        return Lacking(found.wire, changed, commands)

    def _applied(self, refused: Collection[int | None]) -> "_State":
        """The subscription after all changes that count."""
        state = _State(self.base, () if self.known is None else self.known.commands)
        for each, fields in self._counting(refused):
            if each.revision == self.own:
                state.make(self.make, each, self.plain(each.value))
            else:
                state.apply(each, fields, self.plain(each.value))
        return state

    def _counting(self, refused: Collection[int | None]) -> Iterator[tuple[ReadRecord, frozenset[str]]]:
        """The records that count, each with the fields that it changes."""
        undone_at = {each.undoes: each.revision for each in reversed(self.read)}
        deletions = self._repeated_deletions()
        previous = self.first
        known = frozenset[str]()  # the fields that earlier records have changed
        doubtful: dict[int | None, frozenset[str]] = {}  # the fields of refused records, which merges may contain
        for each in self.read:
            while deletions and deletions[0].merged_to < each.revision:
                yield deletions.pop(0), FIELDS
            fields, is_met = each.changed, each.after in {None, previous}
            previous = ABSENT if each.value is None else each.revision
            if each.revision in refused:
                doubtful[each.revision] = fields
            elif each.since is None and is_met:
                known |= fields
                yield each, fields
            elif each.since is not None and each.since < self.first and each.value is not None:
                unsure = [those for at, those in doubtful.items() if each.merged_to < undone_at.get(at, previous)]
                yield each, fields.difference(known, *unsure)
        for each in deletions:
            yield each, FIELDS

    def _repeated_deletions(self) -> list[ReadRecord]:
        """The records that only delete again what was deleted before a late edit, in the order of what they merge.

        Such a record comes right after the last record that its writer had read: a later one may have created the
        subscription again.
        """
        found = [
            each
            for each in self.read
            if each.value is None and each.since is not None and each.since < self.first <= each.merged_to
        ]
        return sorted(found, key=lambda each: each.merged_to)


@dataclass(slots=True)
class _State:
    """A subscription while changes are applied to it. *wire* is None if it is deleted, or if it can't be read."""

    wire: WireSubscription | None
    commands: tuple[Command, ...]
    is_deleted: bool = False

    def apply(self, record: ReadRecord, fields: frozenset[str], wire: WireSubscription | None) -> None:
        """Apply the change of a record."""
        is_edit = record.value is not None and record.changed != FIELDS
        if is_edit and self.is_deleted:
            return
        if is_edit and wire is not None and self.wire is not None:
            wire = self.wire.model_copy(update={name: getattr(wire, name) for name in fields})
        self.wire, self.is_deleted = wire, record.value is None
        self.commands = () if self.is_deleted else merged(self.commands, record.commands)

    def make(self, make: Make, record: ReadRecord, wire: WireSubscription | None) -> None:
        """Apply the write that is completed. Raises the errors of *make*."""
        if self.is_deleted and wire is not None:
            raise unknown(wire.id)
        self.wire, self.is_deleted = wire if self.wire is None else make(self.wire), False
        self.commands = merged(self.commands, record.commands)


def unknown(subscription_id: str) -> UnknownSubscriptionError:
    """The error for a subscription that does not exist."""
    return UnknownSubscriptionError(f"there is no subscription {shown(subscription_id)}")
