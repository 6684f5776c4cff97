"""The key of a record: whose event it is. Pure."""

from typing import Final

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
