"""A fault to plant in a module's source, and the tests that have to fail by it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault: an edit of one file.

    Attributes:
        name: what the faulty program does.
        file: relative to the root of the tree.
        was: the text that is replaced; the file contains it once.
        becomes: the text in its place.
        tests: the pytest ids of the tests that must fail, without parameters.
    """

    name: str
    file: str
    was: str
    becomes: str
    tests: tuple[str, ...]

    def planted(self, source: str) -> str:
        """The faulty source.

        Raises:
            LookupError: the text is not there once; the file has changed and the mutant has to follow.
        """
        if source.count(self.was) != 1:
            raise LookupError(
                f"{self.name}: {self.file} contains {self.was!r} {source.count(self.was)} times, not once"
            )
        return source.replace(self.was, self.becomes)
