"""A record of the compacted topic of subscriptions, with its headers (writer.py)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.core.subscription import Command
from pipeline.subscriptions.commands import read_commands
from pipeline.subscriptions.schema import WireSubscription
from pipeline.subscriptions.writer import (
    ABSENT,
    AFTER_HEADER,
    READ_HEADER,
    SINCE_HEADER,
    UNDOES_HEADER,
    read_fields,
    read_revision,
)

FIELDS: Final = frozenset(WireSubscription.model_fields) - {"id", "resume_from", "created_revision"}
"""The fields that are merged. A command (`resumeFrom`) belongs to one revision only."""


@dataclass(frozen=True, slots=True)
class ReadRecord:
    """A record of the topic.

    Attributes:
        revision: the offset of the record.
        value: the subscription; None if the record deletes it.
        fields: the fields that the record changes; None: all.
        commands: the commands of this revision and of earlier ones.
        after, since, read_to, undoes: see `read_revision`.
    """

    revision: int
    value: bytes | None
    fields: frozenset[str] | None = None
    commands: tuple[Command, ...] = ()
    after: int | None = None
    since: int | None = None
    read_to: int | None = None
    undoes: int | None = None

    @property
    def changed(self) -> frozenset[str]:
        """The fields that the record changes, of those that are merged."""
        return FIELDS if self.fields is None else self.fields & FIELDS

    @property
    def merged_to(self) -> int:
        """The last revision that the record merges; -1 if it does not say this."""
        return -1 if self.read_to is None else self.read_to

    def creates(self, previous: int | None, deleted_at: int) -> bool:
        """Whether the record creates or restores a subscription that was deleted. Otherwise it is a late edit.

        Args:
            previous: the revision before the record; None after a deletion.
            deleted_at: the revision that deleted the subscription.
        """
        if self.since is not None:
            return self.merged_to >= deleted_at
        return self.changed == FIELDS and self.after in {None, ABSENT, previous}


def read_headers(headers: Sequence[tuple[str, bytes]], revision: int) -> ReadRecord:
    """What the headers say about the record of this revision. The value is not read: it is None."""
    return ReadRecord(
        revision,
        None,
        read_fields(headers),
        read_commands(headers, revision),
        read_revision(AFTER_HEADER, headers),
        read_revision(SINCE_HEADER, headers),
        read_revision(READ_HEADER, headers),
        read_revision(UNDOES_HEADER, headers),
    )
