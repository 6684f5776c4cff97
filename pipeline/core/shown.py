"""How values of unknown quality are shown: without what a terminal obeys; in errors as JSON, cut, or their kind."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Final

SHOWN_CHARACTERS: Final = 60
"""How much of a wrong value an error repeats."""


def shown(value: object) -> str:
    """A value for an error: scalars as JSON, shortened; of anything else its kind."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return printable(json.dumps(value, ensure_ascii=False))
    return kind(value)


def printable(text: str) -> str:
    """*text* for an error: cut, and safe to show."""
    return safe(text) if len(text) <= SHOWN_CHARACTERS else f"{safe(text[:SHOWN_CHARACTERS])}…"


def _as_python(character: str) -> str:
    return ascii(character)[1:-1]


def safe(text: str, *, keep: str = "", escape: Callable[[str], str] = _as_python) -> str:
    r"""*text* with every character escaped that a terminal or a page obeys instead of showing it, whoever wrote it.

    Control characters move the cursor, paint, forge lines; format characters turn the direction of what follows around
    (U+202E) or are not seen at all. They are shown as Python writes them: `\x1b`, `\u202e`.

    Args:
        text: for a log line, a command's output, a page.
        keep: characters that may stay, such as the newline where *text* has several lines of our own.
        escape: what stands for a character; unless given, what Python writes.
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
    """*text* with a blank for each of these characters: for a sentence that quotes what somebody else wrote."""
    return safe(text, escape=lambda _: " ")


def kind(value: object) -> str:
    """What sort of JSON value this is."""
    return next((name for types, name in _KINDS if isinstance(value, types)), f"a {type(value).__name__}")


def as_partitions(numbers: Sequence[int], topic: str | None = None) -> str:
    """`partition 3`, `partitions 0-2, 5`; with a topic, which is named where there are several, `partition 3 of it`."""
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
