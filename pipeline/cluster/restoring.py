"""Adapts a backup to the topics into which it is restored. Revisions are offsets, so they change in a new topic. Pure.

subscription   its first revision is removed, so the revision of the new record replaces it
row            refers to the new revision if its lane had carried out the newest revision, else to the one before
commit         begun-to=N becomes the new revision of the first subscription that had not begun
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from pipeline.kafka.committed import BEGUN_TO
from pipeline.kafka.kept_state import Commit, Kept
from pipeline.kafka.row_keys import split_key

CREATED: Final = "createdRevision"


def created(subscription: Kept) -> int:
    """The first revision of a stored subscription."""
    first = _object(subscription.value).get(CREATED)
    return first if isinstance(first, int) and not isinstance(first, bool) else subscription.offset


def by_creation(subscriptions: Sequence[Kept]) -> list[Kept]:
    """Subscriptions sorted by creation, so that their new revisions are in the order that `begun-to` assumes."""
    return sorted(subscriptions, key=created)


def has_start(subscription: Kept) -> bool:
    """Whether a stored subscription contains its start."""
    return isinstance(_object(subscription.value).get("start"), dict)


def without_creation(value: bytes) -> bytes:
    """The stored subscription without its first revision; *value* itself if it has none or is not JSON."""
    document = _object(value)
    if CREATED not in document:
        return value
    del document[CREATED]
    return _json(document)


class Renumbering(NamedTuple):
    """The revisions of a restored subscription.

    Attributes:
        first: the revision at which the subscription was created.
        old: the newest revision of the subscription when its rows were read.
        new: the revision that was written.
        has_start: whether its record contains its beginning, as with `routing: match` (`core.beginnings.is_of_former`).
    """

    first: int
    old: int
    new: int
    has_start: bool


def renumbered(row: Kept, topics: Sequence[str], revisions: Mapping[bytes, Renumbering]) -> bytes | None:
    """A row that refers to the new revision; None if it belongs to a deleted subscription with the same id.

    Args:
        row: the stored row.
        topics: the source topics.
        revisions: the revisions of each subscription, by id.
    """
    found, document = split_key(row.key, topics), _object(row.value)
    of, revision = None if found is None else revisions.get(found[1]), document.get("revision")
    if of is None or not isinstance(revision, int) or isinstance(revision, bool):
        return row.value
    if of.has_start and revision < of.first - 1:
        return None
    document["revision"] = of.new if revision >= of.old else of.new - 1
    return _json(document)


def begun(commit: Commit, revisions: Iterable[Renumbering]) -> Commit:
    """*commit* with begun-to translated to the new revisions."""
    known = list(revisions)
    fields = commit.metadata.split(";")
    for index, field in enumerate(fields):
        if re.fullmatch(f"{BEGUN_TO}[0-9]{{1,19}}", field):
            former = int(field.removeprefix(BEGUN_TO))
            after_all = max((each.new for each in known), default=-1) + 1
            later = (each.new for each in known if each.first >= former)
            fields[index] = f"{BEGUN_TO}{min(later, default=after_all)}"
    return commit._replace(metadata=";".join(fields))


def _object(value: bytes) -> dict[str, Any]:
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
