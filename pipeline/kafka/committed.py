"""The group's commit for a partition: the offset, and fields in the metadata of the commit.

The fields are the topic's id, the note of the events settled beyond the offset (core/ahead.py), and with
`routing: match` the revision before which subscriptions had begun (core/beginnings.py). Workers of versions without
notes read `topic-id=` only at the beginning. If a note precedes this field, they ignore the note and the field:

    topic-id=5u7...
    settled=1:40:eAGTAgAAGwAb;topic-id=5u7...
    topic-id=5u7...;begun-to=7
"""

import re
from dataclasses import dataclass
from typing import Final, Self

from pipeline.core.log_bounds import LARGEST_OFFSET

TOPIC_ID: Final = "topic-id="
SETTLED: Final = "settled="
BEGUN_TO: Final = "begun-to="
"""The prefixes of the fields of a commit's metadata, which are separated by a semicolon."""
NONE_HAS_BEGUN: Final = f"{BEGUN_TO}0"
"""The metadata of a commit before the first worker: subscriptions begin at their own offset, even if it is earlier."""


def without_settled(metadata: str) -> str:
    """The metadata of a commit without the note of settled events."""
    return metadata.partition(";")[2] if metadata.startswith(SETTLED) else metadata


@dataclass(frozen=True, slots=True)
class Committed:
    """The group's commit for a partition.

    Attributes:
        offset: the committed offset; None if there is none.
        topic_id: the id of the topic; None if unknown.
        settled: the note of the events that are settled beyond the offset; None if there is none.
        begun_to: subscriptions created before this revision had begun; 0 if the commit does not contain it. A commit
            without fields was made by an operator, who moved the group. Then all subscriptions count as begun, so that
            no subscription begins a second time.
    """

    offset: int | None
    topic_id: str | None = None
    settled: str | None = None
    begun_to: int = 0

    @classmethod
    def read(cls, offset: int, metadata: str | None) -> Self:
        """Parse an answer from the group's coordinator, in which the offset -1 means no commit."""
        topic_id = settled = begun_to = None
        for field in (metadata or "").split(";"):
            if field.startswith(TOPIC_ID):
                topic_id = field.removeprefix(TOPIC_ID)
            elif field.startswith(SETTLED):
                settled = field.removeprefix(SETTLED)
            elif field.startswith(BEGUN_TO):
                begun_to = _revision(field.removeprefix(BEGUN_TO))
        if offset < 0:
            return cls(None)
        is_ours = (topic_id, settled, begun_to) != (None, None, None)
        return cls(offset, topic_id, settled, begun_to or (0 if is_ours else LARGEST_OFFSET))


def _revision(text: str) -> int:
    """The revision in a commit; 0, which is safe, if it is unreadable. Anyone with access may have written it."""
    return int(text) if re.fullmatch("[0-9]{1,19}", text) else 0
