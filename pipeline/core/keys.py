"""The key of a record: whose event it is. Pure."""

from collections.abc import Collection, Sequence
from typing import Final

from pipeline.core.model import Event
from pipeline.core.ports import Matching

LONGEST_ID: Final = 255
"""Characters of a subscription id."""

_LONGEST_KEY_BYTES: Final = 4 * LONGEST_ID
"""No id is longer in UTF-8."""


def decode_key(key: bytes) -> str | None:
    """The subscription id of a record key; None where it can't be one: no UTF-8, empty, or longer than any id."""
    if len(key) > _LONGEST_KEY_BYTES:
        return None
    try:
        return key.decode() or None
    except UnicodeDecodeError:
        return None


def keys_among(event: Event, among: Collection[bytes], matching: Matching | None) -> Sequence[bytes]:
    """Whose *event* is, of the subscriptions with the keys *among*; by its own key if there is no *matching*."""
    if matching is not None:
        return matching.keys(event, among)
    key = event.key or b""
    return (key,) if key in among else ()
