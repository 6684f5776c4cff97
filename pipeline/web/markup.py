"""HTML that is safe by construction: whatever is not `Markup` is escaped where it is put in."""

from html import escape
from typing import Final

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
    return Markup(
        "".join(child if isinstance(child, Markup) else escape(str(child)) for child in children if child is not None)
    )
