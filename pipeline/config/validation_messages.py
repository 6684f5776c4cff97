"""Turns pydantic's errors into sentences with path, value, what is allowed, and the most similar known name."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from pipeline.config.model_fields import alias, homes, is_secret, literals, locate, metadata
from pipeline.core.shown import kind, printable, shown

_KEY: Final = "[key]"
"""The suffix that pydantic adds to a location if the name is wrong, and not the value."""

_MOST_HOMES: Final = 3
"""No place is suggested for a name that is allowed in more places than this."""

_PLAIN_NAME: Final = re.compile(r"[\w$@/-]+")


def nearest(name: str, known: Sequence[str]) -> str:
    """A hint about an unknown *name*: the most similar known name, or all known names."""
    found = similar(name, known)
    if found is not None:
        return f"did you mean {found}?"
    return f"known here: {', '.join(known)}" if known else "none is allowed here"


def similar(name: str, known: Sequence[str]) -> str | None:
    """The known name that *name* is probably meant to be; None if no known name is similar."""
    lowered = {candidate.lower(): candidate for candidate in known}
    # A name that begins with *name* is a better guess than a similar one.
    begun = [candidate for candidate in lowered if candidate.startswith(name.lower())]
    if len(begun) == 1:
        return lowered[begun[0]]
    close = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.6)
    if not begun:
        # So is a name whose beginning is very similar to *name*: ALLOW_PRIVATE_NETWORKS for ALOW.
        lengths = [length for length in (len(name) - 1, len(name), len(name) + 1) if length > 0]
        beginnings = {each[:length]: lowered[each] for each in lowered for length in lengths}
        beginnings |= lowered
        near = difflib.get_close_matches(name.lower(), beginnings, n=1, cutoff=0.85)
        if near:
            return beginnings[near[0]]
    return lowered[close[0]] if close else None


_EXPECTED: Final = {
    "bool_type": "must be true or false",
    "string_type": "must be a string",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "float_parsing": "must be a number",
    "byte_size": "must be a number of bytes, such as 1048576 or 1MiB",
    "byte_size_unit": "must be a number of bytes, such as 1048576 or 1MiB",
    "path_type": "must be a path",
    "tuple_type": "must be a list",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "string_unicode": "must be valid Unicode",
}
_FIXED: Final = {"missing": "is required", "string_too_short": "must not be empty", "too_short": "must not be empty"}
_RANGE: Final = {"greater_than", "greater_than_equal", "less_than", "less_than_equal"}


def sentence(model: type[BaseModel], details: ErrorDetails, path: str = "") -> str:
    """One error that pydantic found in a *model* at *path*, as a sentence."""
    location = details["loc"]
    wrong = details["input"]
    if details["type"] == "string_type" and location[-1:] == (_KEY,) and location[-2] in (wrong, str(wrong)):
        return f"{_path(path, location[:-2])}: names must be strings, not {shown(wrong)}"
    owner, field = locate(model, location)
    context = details.get("ctx", {})
    if details["type"] == "problem":
        field_path = _path(path, (*location, context["field"]) if context["field"] else location)
        return f"{field_path}: {context['sentence']}"
    if details["type"] == "extra_forbidden":
        known = [alias(name, each) for name, each in owner.model_fields.items()] if owner else []
        return f"{_path(path, location)}: unknown field; {_instead(model, location, path, known)}"
    return f"{_path(path, location)}: {_what(details, field)}"


def _instead(model: type[BaseModel], location: tuple[int | str, ...], path: str, known: Sequence[str]) -> str:
    """A hint about an unknown field: a similar name, the objects in which the name is allowed, or the known names."""
    name = str(location[-1])
    if similar(name, known) is None:
        here = tuple(step for step in location[:-1] if isinstance(step, str))
        everywhere = homes(model).get(name, ())
        likely = [home for home in everywhere if home[: len(here)] == here] or everywhere
        if 0 < len(likely) <= _MOST_HOMES:
            places = (_path(path, home) if path or home else "the top level" for home in likely)
            return f"it belongs to {' or '.join(places)}"
    return nearest(name, known)


def _what(details: ErrorDetails, field: FieldInfo | None) -> str:
    code, context = details["type"], details.get("ctx", {})
    if code in _FIXED:
        return _FIXED[code]
    if code in _EXPECTED:
        return f"{_EXPECTED[code]}, not {_wrong(details['input'], field, code)}"
    value = "the value" if is_secret(field) else shown(details["input"])
    return f"{value} {_why_not(code, context, field)}"


def _why_not(code: str, context: Mapping[str, Any], field: FieldInfo | None) -> str:
    if code in _RANGE:
        return f"is out of range; allowed: {_range(field, context)}"
    if code == "literal_error":
        return f"is not allowed; allowed: {_choices(field)}"
    if code == "string_too_long":
        return f"is too long; allowed: at most {context.get('max_length')} characters"
    if code == "string_pattern_mismatch":
        return f"does not match {context.get('pattern')}"
    return f"is not valid ({code})"


def _wrong(value: object, field: FieldInfo | None, code: str) -> str:
    # The value is not shown: a string in place of an object or a list may be a secret.
    scalar_expected = code not in {"list_type", "dict_type", "model_type", "model_attributes_type"}
    return shown(value) if scalar_expected and not is_secret(field) else kind(value)


def _range(field: FieldInfo | None, context: Mapping[str, Any]) -> str:
    # The context has only the violated bound. The field has both bounds, unless it is inside a dict.
    low, high = context.get("ge"), context.get("le")
    for constraint in metadata(field):
        if isinstance(constraint, annotated_types.Ge):
            low = constraint.ge
        elif isinstance(constraint, annotated_types.Le):
            high = constraint.le
    if low is None:
        return f"at most {high}"
    return f"{low} to {high}" if high is not None else f"at least {low}"


def _choices(field: FieldInfo | None) -> str:
    options = [str(option) or '""' for option in literals(field.annotation if field else None)]
    return ", ".join(options)


def _path(path: str, location: Iterable[int | str]) -> str:
    for step in location:
        path = f"{path}[{step}]" if isinstance(step, int) else join(path, step)
    return path or "document"


def join(path: str, key: object) -> str:
    """The path of the field *key* in the object at *path*. A key that is not a plain name is JSON in brackets."""
    name = str(key) if isinstance(key, (str, int, float)) else kind(key)
    if not _PLAIN_NAME.fullmatch(name):
        return f"{path}[{shown(name)}]"
    name = printable(name)
    return f"{path}.{name}" if path else name
