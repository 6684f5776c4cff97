"""Makes untrusted values safe to show: escapes control characters, and shortens values in errors."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Final

SHOWN_CHARACTERS: Final = 60
"""How many characters of a wrong value an error repeats."""


def shown(value: object) -> str:
    """A value for an error: scalars as shortened JSON, other values as their kind."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return printable(json.dumps(value, ensure_ascii=False))
    return kind(value)


def printable(text: str) -> str:
    """*text* for an error: shortened, and safe to show."""
    return safe(text) if len(text) <= SHOWN_CHARACTERS else f"{safe(text[:SHOWN_CHARACTERS])}…"


def _as_python(character: str) -> str:
    return ascii(character)[1:-1]


def safe(text: str, *, keep: str = "", escape: Callable[[str], str] = _as_python) -> str:
    r"""*text*, with all characters escaped that a terminal or a page would interpret instead of showing.

    Control characters move the cursor, change colours or forge lines. Format characters reverse the direction of the
    text (U+202E) or are invisible. They are shown as Python writes them: `\x1b`, `\u202e`.

    Args:
        text: a text for a log line, a command's output or a page.
        keep: characters that are not escaped, such as the newlines of the pipeline's own text.
        escape: returns the replacement of a character; the default is Python's notation.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in keep else escape(each) for each in text)


_KINDS: Final[list[tuple[type | tuple[type, ...], str]]] = [
    (type(None), "null"),
    (bool, "a boolean"),
    (str, "a string"),
    ((int, float), "a number"),
    ((list, tuple), "a list"),
    (Mapping, "an object"),
]


def one_line(text: str) -> str:
    """*text* with a blank for each character that `safe` escapes, for a sentence that quotes untrusted text."""
    return safe(text, escape=lambda _: " ")


def kind(value: object) -> str:
    """The kind of a JSON value."""
    return next((name for types, name in _KINDS if isinstance(value, types)), f"a {type(value).__name__}")


def as_partitions(numbers: Sequence[int], topic: str | None = None) -> str:
    """`partition 3` or `partitions 0-2, 5`; with a topic, `partition 3 of orders`."""
    return _numbers(numbers) if topic is None else f"{_numbers(numbers)} of {topic}"


def _numbers(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f"partition {numbers[0]}"
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][-1] + 1:
            spans[-1].append(number)
        else:
            spans.append([number])
    texts = [str(span[0]) if len(span) == 1 else f"{span[0]}-{span[-1]}" for span in spans]
    return f"partitions {', '.join(texts)}"
