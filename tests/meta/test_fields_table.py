"""The tables of fields in docs/configuration.md name every field there is, and tests that exist."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.config.definition_schema import Entrypoint
from pipeline.config.model_fields import alias, model_in
from pipeline.config.schema import StrictModel
from pipeline.subscriptions.schema import WireSubscription

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| `([^`]+)`(?: ⁺)? \| .+ \| `(test_\w+)` \|$", re.MULTILINE)
OPTIONS = "configuration.entrypointConfiguration."


def fields(model: type[StrictModel], path: str = "") -> Iterator[str]:
    """The paths of the fields that hold values."""
    for name, field in model.model_fields.items():
        place = f"{path}.{alias(name, field)}" if path else alias(name, field)
        inner = model_in(field.annotation)
        if inner is not None and issubclass(inner, StrictModel):
            yield from fields(inner, place)
        else:
            yield place


@pytest.fixture(scope="module")
def rows() -> list[tuple[str, str]]:
    return ROW.findall((ROOT / "docs" / "configuration.md").read_text())


def test_every_field_has_its_row(rows: list[tuple[str, str]]) -> None:
    known = [*fields(Entrypoint), *(path.removeprefix(OPTIONS) for path in fields(WireSubscription))]
    assert sorted(name for name, _ in rows) == sorted(known)


def test_every_row_names_a_test_that_is_there(rows: list[tuple[str, str]]) -> None:
    source = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    there = set(re.findall(r"def (test_\w+)\(", source))
    assert {test for _, test in rows} - there == set()
