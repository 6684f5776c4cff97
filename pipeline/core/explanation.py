"""Explains why a filter rejects an event: which of its comparisons failed. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.core.filters import AllOf, AnyOf, Compare, Dialect, Expression, Not, ParsedEvent
from pipeline.core.shown import shown

MOST_SHOWN: Final = 5
"""The largest number of texts in a sentence."""
LONGEST_FOUND: Final = 1000
"""How many bytes of a text in the event are kept."""

_VERBS: Final[dict[Dialect, str]] = {"exact": "be", "prefix": "begin with", "suffix": "end with"}


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A comparison that makes a filter reject an event.

    Attributes:
        place: the compared part of the event, as the filter names it.
        dialect: how the texts are compared.
        wanted: the texts in the filter.
        found: the texts in the event; long ones are cut.
        is_excluded: whether the comparison is part of a `not`, and matches.
    """

    place: str
    dialect: Dialect
    wanted: tuple[str, ...]
    found: tuple[str, ...]
    is_excluded: bool = False

    def __str__(self) -> str:
        """A sentence."""
        found = f"is {_list(self.found, 'and')}" if self.found else "has no value"
        must = "must not" if self.is_excluded else "must"
        return f"{self.place} {found}; it {must} {_VERBS[self.dialect]} {_list(self.wanted, 'or')}"


def explain(wanted: Expression, parsed: ParsedEvent) -> list[Mismatch]:
    """The comparisons that make a filter reject an event; empty if the event matches.

    For an `all`, these are the comparisons that fail. For an `any`, these are all of its comparisons, because one match
    would have been enough.
    """
    return [] if wanted.matches(parsed) else list(dict.fromkeys(_mismatches(wanted, parsed, expected=True)))


def _mismatches(part: Expression, parsed: ParsedEvent, *, expected: bool) -> Iterator[Mismatch]:
    """The comparisons that make the result of *part* differ from the *expected* result."""
    match part:
        case Compare(dialect, selector, texts):
            found = selector.found(parsed)
            yield Mismatch(
                selector.place, dialect, _decoded(texts), tuple(map(_beginning, found)), is_excluded=not expected
            )
        case AllOf(parts) | AnyOf(parts):
            for each in parts:
                if each.matches(parsed) is not expected:
                    yield from _mismatches(each, parsed, expected=expected)
        case Not(each):
            yield from _mismatches(each, parsed, expected=not expected)
        case _:
            pass


def _decoded(texts: Sequence[bytes]) -> tuple[str, ...]:
    return tuple(text.decode("utf-8", "backslashreplace") for text in texts)


def _beginning(text: bytes) -> str:
    if len(text) <= LONGEST_FOUND:
        return text.decode("utf-8", "backslashreplace")
    return f"{text[:LONGEST_FOUND].decode('utf-8', 'ignore')}…"


def _list(texts: Sequence[str], word: str) -> str:
    named = [shown(text) for text in texts[:MOST_SHOWN]]
    if len(texts) > MOST_SHOWN:
        named.append(f"{len(texts) - MOST_SHOWN} more")
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} {word} {named[-1]}"
