"""Plots the last 15 minutes as lines of an SVG. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 600
HEIGHT: Final = 120

Points = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a plot.

    Attributes:
        name: what the line shows.
        tone: the CSS class of its colour.
        now: the newest value, for people; None if there is none.
        path: the `d` of an SVG path, with gaps where values are missing.
    """

    name: str
    tone: str
    now: str | None
    path: str


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot.

    Attributes:
        top: the value at the upper edge, for people.
        summary: a sentence about the plot, for screen readers.
    """

    title: str
    top: str
    lines: Sequence[Line]
    summary: str

    @property
    def has_values(self) -> bool:
        """Whether there are values to draw."""
        return any(line.path for line in self.lines)


def plot(
    title: str, series: Sequence[tuple[str, str, Points]], shown: Callable[[float], str], room: int, least: float = 1.0
) -> Plot:
    """Plot *series*.

    Args:
        title: what is plotted, with the unit.
        series: the lines: name, tone, and values from the oldest to the newest.
        shown: formats a value for people.
        room: how many values fit into the width; the newest one is at the right edge.
        least: the smallest value for the upper edge.
    """
    top = _round_up(max([least, *(value for *_, points in series for value in points if value is not None)]))
    lines = [Line(name, tone, _last(points, shown), _path(points, top, room)) for name, tone, points in series]
    summary = ", ".join(f"{line.name} {line.now or 'unknown'}" for line in lines)
    return Plot(
        title,
        shown(top),
        lines,
        f"{title}, now: {summary}; the highest value of the last 15 minutes is at most {shown(top)}",
    )


def _last(points: Points, shown: Callable[[float], str]) -> str | None:
    newest = points[-1] if points else None
    return None if newest is None else shown(newest)


def _round_up(value: float) -> float:
    """*value*, rounded up to 1, 2 or 5 times a power of ten: such a scale rarely changes."""
    step = 0.001
    while True:
        for factor in (1, 2, 5):
            if value <= step * factor:
                return step * factor
        step *= 10


def _path(points: Points, top: float, room: int) -> str:
    pieces: list[str] = []
    is_drawing = False
    for place, value in enumerate(points, start=room - len(points)):
        if value is None:
            is_drawing = False
            continue
        x, y = WIDTH * place / (room - 1), HEIGHT * (1 - value / top)
        # A value between two gaps is drawn as a dot, which is a line of length zero with round ends.
        pieces.append(f"{'L' if is_drawing else 'M'}{x:.1f} {y:.1f}" + ("" if is_drawing else "h0"))
        is_drawing = True
    return "".join(pieces)
