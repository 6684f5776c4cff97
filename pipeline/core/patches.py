"""Whether the changes that are made to libraries took.

Where a library has no public way to what is needed here, one of its attributes is replaced, or a private method is
overridden. A version of the library that has renamed it, or goes another way, raises no error: header names stop
partitions again, or no lease is renewed.

So each module with such changes has PATCHES, and a worker checks them all before it starts (worker.py). The names and
signatures that are used are pinned by tests/meta/test_canary.py.
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
    """A change that is made to a library.

    Attributes:
        library: the name of its distribution.
        name: what is replaced or overridden.
        without: what happens while it does not take, as a clause.
        takes: whether it took; what it raises counts as no.
    """

    library: str
    name: str
    without: str
    takes: Callable[[], bool]


def looks_up(function: str, *names: str) -> Callable[[], bool]:
    """A check that the code of a library's function or property reads these names: globals, or attributes.

    Args:
        function: `package.module:Class.function`.
        names: all of them have to be there.
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
    """Return if all of them took.

    Raises:
        LibraryError: some did not; each is named with its library, the version of that, and what would follow.
    """
    problems = [problem for problem in map(_problem, patches) if problem is not None]
    if problems:
        raise LibraryError("\n".join(problems))


def _problem(patch: Patch) -> str | None:
    try:
        if patch.takes():
            return None
        reason = ""
    except Exception as error:  # noqa: BLE001 - whatever it is, the library is not as it was
        reason = f" ({error!r})"
    found = f"{patch.library} {version(patch.library)}"
    return (
        f"{found}: what is changed at {patch.name} has no effect{reason}, so {patch.without}; "
        "install the version that requirements.lock names"
    )
