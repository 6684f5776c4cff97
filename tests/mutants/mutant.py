"""A fault to plant in the source of a module, and the tests that must fail because of the fault."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Mutant:
    """A fault, which is an edit of one file.

    Attributes:
        name: a description of what the faulty program does.
        file: the path of the file, relative to the root of the tree.
        was: the text that is replaced, which the file contains once.
        becomes: the new text.
        tests: the pytest ids of the tests that must fail, without parameters.
    """

    name: str
    file: str
    was: str
    becomes: str
    tests: tuple[str, ...]

    def planted(self, source: str) -> str:
        """The source with the fault.

        Raises:
            LookupError: the source does not contain the text exactly once: it has changed, and the mutant must be
                updated.
        """
        if source.count(self.was) != 1:
            raise LookupError(
                f"{self.name}: {self.file} contains {self.was!r} {source.count(self.was)} times, not once"
            )
        return source.replace(self.was, self.becomes)
