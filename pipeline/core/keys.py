"""Record keys as ids of subscriptions. Pure."""

from collections.abc import Collection, Sequence
from typing import Final

from pipeline.core.model import Event
from pipeline.core.ports import Matching

LONGEST_ID: Final = 255
"""The most characters of a subscription id."""

_LONGEST_KEY_BYTES: Final = 4 * LONGEST_ID
"""The length limit of an id in UTF-8."""


def decode_key(key: bytes) -> str | None:
    """The subscription id in a record key; None if the key can't be an id: not UTF-8, empty, or too long."""
    if len(key) > _LONGEST_KEY_BYTES:
        return None
    try:
        return key.decode() or None
    except UnicodeDecodeError:
        return None


def keys_among(event: Event, among: Collection[bytes], matching: Matching | None) -> Sequence[bytes]:
    """The keys in *among* whose subscriptions get *event*.

    If *matching* is None, this is only the event's own key.
    """
    if matching is not None:
        return matching.keys(event, among)
    key = event.key or b""
    return (key,) if key in among else ()
