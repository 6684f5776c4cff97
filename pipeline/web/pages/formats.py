"""Formats numbers and times for people. Pure."""

from typing import Final

_UNITS: Final = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
_SECOND: Final = 1.0
_TEN: Final = 10.0


def span(seconds: float) -> str:
    """A length of time in its two largest units: `12 s`, `3 min 5 s`, `2 d 4 h`."""
    left = max(0, round(seconds))
    for place, (unit, size) in enumerate(_UNITS):
        whole, rest = divmod(left, size)
        if whole or unit == "s":
            smaller, size_of_it = _UNITS[min(place + 1, len(_UNITS) - 1)]
            more = rest // size_of_it
            return f"{whole} {unit} {more} {smaller}" if more and smaller != unit else f"{whole} {unit}"
    raise AssertionError  # the last unit always matches


def ago(moment: float, now: float) -> str:
    """The time before or after *now*: `3 min ago`, `in 12 s`, or `now` within half a second."""
    if abs(moment - now) < 0.5:  # noqa: PLR2004 - rounds to zero seconds
        return "now"
    return f"in {span(moment - now)}" if moment > now else f"{span(now - moment)} ago"


def duration(seconds: float) -> str:
    """How long a request took: `8 ms`, `1.2 s`, `31 s`."""
    if seconds < _SECOND:
        return f"{seconds * 1000:.0f} ms" if seconds >= _TEN / 1000 else f"{seconds * 1000:.1f} ms"
    return f"{seconds:.1f} s" if seconds < _TEN else f"{seconds:.0f} s"


def milliseconds(count: int) -> str:
    """How long a request took, from a whole number of milliseconds: `under 1 ms`, `8 ms`, `1.2 s`."""
    if count >= _SECOND * 1000:
        return duration(count / 1000)
    return f"{count} ms" if count else "under 1 ms"


def rate(per_second: float) -> str:
    """A rate without its unit: `0`, `0.4`, `12`, `5,300`."""
    return f"{per_second:.1f}" if 0 < per_second < _TEN else f"{per_second:,.0f}"


def number(count: int) -> str:
    """A whole number, with commas."""
    return f"{count:,}"


def plural(count: int, noun: str) -> str:
    """`1 event`, `1,200 events`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def waiting(exact: int | None, at_most: int | None) -> str:
    """The number of waiting events: exact, an upper bound, or "unknown"."""
    if exact is not None:
        return number(exact)
    return "unknown" if at_most is None else f"up to {at_most:,}"
