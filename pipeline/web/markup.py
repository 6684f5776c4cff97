"""HTML that is safe by construction: whatever is not `Markup` is escaped where it is put in.

Text is escaped twice: for HTML, and so that it can't turn the direction of the page around (core/shown.py). Attributes
are escaped for HTML alone: a form gives back what was put in.
"""

from html import escape
from typing import Final

from pipeline.core.shown import safe

_VOID: Final = frozenset({"meta", "link", "br", "hr", "input"})


class Markup(str):
    """Text that is HTML already; only `tag` and constants of this package make it."""

    __slots__ = ()


def tag(element: str, /, *children: object, **attributes: object) -> Markup:
    """An element. Children and attributes are escaped, None among them left out; `class_` is written `class`."""
    opening = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if element in _VOID:
        return Markup(f"<{element}{opening}>")
    return Markup(f"<{element}{opening}>{fragment(*children)}</{element}>")


def fragment(*children: object) -> Markup:
    """Children one after the other."""
    return Markup("".join(map(_escaped, (child for child in children if child is not None))))


def _escaped(child: object) -> str:
    return child if isinstance(child, Markup) else escape(safe(str(child), keep="\n\t"))
