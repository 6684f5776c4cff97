"""Removes parts from a document."""

import copy
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

_STEP: Final = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


def pruned(document: Mapping[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    """A copy of *document* without the parts at these paths, such as `listeners[0].entrypoints[1].name`.

    A path that does not exist in the document is ignored. (The path of an inherited part is the place that inherits
    it.)
    """
    result = copy.deepcopy(dict(document))
    steps = [[int(number) if number else name for name, number in _STEP.findall(path)] for path in paths]
    # The last index comes first, so that lower indexes of the list stay valid.
    for *parents, last in sorted(steps, key=_order, reverse=True):
        holder = _at(result, parents)
        if isinstance(holder, list) and isinstance(last, int) and last < len(holder):
            del holder[last]
        elif isinstance(holder, dict):
            holder.pop(last, None)
    return result


def _order(steps: list[str | int]) -> list[tuple[int, str]]:
    return [(step, "") if isinstance(step, int) else (-1, step) for step in steps]


def _at(document: object, steps: list[str | int]) -> object:
    for step in steps:
        if isinstance(document, list) and isinstance(step, int) and step < len(document):
            document = document[step]
        elif isinstance(document, dict):
            document = document.get(step)
        else:
            return None
    return document
