"""Reads the JSON of records, and checks every value: anyone with access to a topic may have written a record.

Every function raises a ValueError whose message says what is invalid.
"""

import json
from collections.abc import Mapping
from typing import Any, Final, TypeGuard

from pipeline.core.log_bounds import LARGEST_OFFSET

_LATEST: Final = 253_402_300_799.0
"""The last second of the year 9999 (RFC 3339 has no later one), Unix seconds."""


def parse_object(value: bytes, longest: int) -> dict[str, Any]:
    """The object in a record of at most *longest* bytes."""
    if len(value) > longest:
        raise ValueError(f"it has {len(value)} bytes; allowed: {longest}")
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004 - the one error of this module
    return found


def text(fields: Mapping[str, Any], name: str) -> str:
    """A string."""
    found = fields.get(name)
    if not isinstance(found, str):
        raise ValueError(f"its {name} is not a string")  # noqa: TRY004 - as above
    return found


def whole(fields: Mapping[str, Any], name: str, *, default: int | None = None, least: int = 0) -> int:
    """A whole number, at most the largest offset."""
    found = fields.get(name, default)
    if not is_whole(found, least):
        raise ValueError(f"its {name} is not a whole number from {least} to {LARGEST_OFFSET}")
    return found


def whole_or_none(fields: Mapping[str, Any], name: str, *, least: int = 0) -> int | None:
    """A whole number, or nothing."""
    return None if fields.get(name) is None else whole(fields, name, least=least)


def is_whole(value: object, least: int = 0) -> TypeGuard[int]:
    """Whether *value* is a whole number from *least* to the largest offset."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= LARGEST_OFFSET


def moment(fields: Mapping[str, Any], name: str) -> float:
    """A time in Unix seconds."""
    found = fields.get(name)
    if not is_moment(found):
        raise ValueError(f"its {name} is not a time in Unix seconds")
    return float(found)


def moment_or_none(fields: Mapping[str, Any], name: str) -> float | None:
    """A time in Unix seconds, or nothing."""
    return None if fields.get(name) is None else moment(fields, name)


def is_moment(value: object) -> TypeGuard[int | float]:
    """Whether *value* is a time in Unix seconds."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _LATEST


def part(fields: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """An object, or nothing."""
    found = fields.get(name)
    if found is not None and not isinstance(found, dict):
        raise ValueError(f"its {name} is not an object")
    return found
