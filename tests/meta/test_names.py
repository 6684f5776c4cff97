"""Names of tests are short sentences."""

import ast
from pathlib import Path

from tests.support.syntax import parsed

TESTS = Path(__file__).parents[1]
LONGEST = 60


def long_names(text: str) -> list[str]:
    """The tests of a module whose names are too long."""
    functions = (node for node in ast.walk(parsed(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return [each.name for each in functions if each.name.startswith("test_") and len(each.name) > LONGEST]


def test_no_name_of_a_test_is_longer_than_sixty_characters() -> None:
    assert {str(path): found for path in TESTS.rglob("*.py") if (found := long_names(path.read_text()))} == {}


def test_a_name_that_is_too_long_is_found() -> None:
    name = "test_".ljust(LONGEST, "x")
    assert long_names(f"def {name}(): ...\nclass A:\n async def {name}y(): ...") == [f"{name}y"]
