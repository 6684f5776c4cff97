"""How errors show a value of unknown quality: its scalar as JSON, cut, or its kind."""

import json
from collections.abc import Mapping
from typing import Final

SHOWN_CHARACTERS: Final = 60
"""How much of a wrong value an error repeats."""


def shown(value: object) -> str:
    """A value for an error: scalars as JSON, shortened; of anything else its kind."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return printable(json.dumps(value, ensure_ascii=False))
    return kind(value)


def printable(text: str) -> str:
    """*text* for an error: cut, and without lone surrogates."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


_KINDS: Final[list[tuple[type | tuple[type, ...], str]]] = [
    (type(None), "null"),
    (bool, "a boolean"),
    (str, "a string"),
    ((int, float), "a number"),
    ((list, tuple), "a list"),
    (Mapping, "an object"),
]


def kind(value: object) -> str:
    """What sort of JSON value this is."""
    return next((name for types, name in _KINDS if isinstance(value, types)), f"a {type(value).__name__}")
