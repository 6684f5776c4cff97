"""Checks whether patches of libraries take effect.

Where a library has no public way to do what the pipeline needs, a module replaces one of its attributes, or overrides a
private method. If another version of the library renames the attribute or method, or no longer uses it, the patch
silently has no effect: for example, no lease is renewed.

So each module with such patches lists them in PATCHES, and a worker checks all of them before it starts (worker.py).
tests/meta/test_canary.py pins the names and signatures that are used.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pkgutil import resolve_name
from types import CodeType
from typing import Any

from pipeline.core.errors import LibraryError


@dataclass(frozen=True, slots=True)
class Patch:
    """A patch of a library.

    Attributes:
        library: the name of its distribution.
        name: the attribute or method that is replaced or overridden.
        without: what happens if the patch has no effect, as a clause.
        takes: returns whether the patch takes effect; an exception counts as False.
    """

    library: str
    name: str
    without: str
    takes: Callable[[], bool]


def looks_up(function: str, *names: str) -> Callable[[], bool]:
    """A check that the code of a library's function or property uses these globals or attributes.

    Args:
        function: `package.module:Class.function`.
        names: the names, all of which have to be used.
    """

    def takes() -> bool:
        found: Any = resolve_name(function)
        if isinstance(found, property):
            found = found.fget
        return set(names) <= set(_names(found.__code__))

    return takes


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def check_patches(patches: Iterable[Patch]) -> None:
    """Return if all patches take effect.

    Raises:
        LibraryError: a patch has no effect. The text names each such patch, its library with the version, and the
            consequence.
    """
    problems = [problem for problem in map(_problem, patches) if problem is not None]
    if problems:
        raise LibraryError("\n".join(problems))


def _problem(patch: Patch) -> str | None:
    try:
        if patch.takes():
            return None
        reason = ""
    except Exception as error:  # noqa: BLE001 - whatever the error is, the library has changed
        reason = f" ({error!r})"
    found = f"{patch.library} {version(patch.library)}"
    return (
        f"{found}: the patch of {patch.name} has no effect{reason}, so {patch.without}; "
        "install the version that requirements.lock names"
    )
