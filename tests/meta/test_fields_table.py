"""The reference of settings and fields is complete, agrees with the models, and names tests that exist."""

import re
from pathlib import Path

import pytest

from tests.support.reference import FIELDS, SETTINGS, filled, settings, tables

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| `([^`]+)`(?: ⁺)? \| ", re.MULTILINE)
TEST = re.compile(r" \| `(test_\w+)` \|$", re.MULTILINE)
WRITE = "write it again: python -m tests.support.reference"


def test_the_table_of_settings_is_up_to_date() -> None:
    assert settings() in SETTINGS.read_text(), WRITE


def test_values_and_defaults_are_up_to_date() -> None:
    assert filled(FIELDS.read_text()) == FIELDS.read_text(), WRITE


@pytest.mark.parametrize("heading", tables())
def test_every_field_has_its_row(heading: str) -> None:
    section = FIELDS.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    assert sorted(ROW.findall(section)) == sorted(tables()[heading])


def test_every_row_names_an_existing_test() -> None:
    source = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    there = set(re.findall(r"def (test_\w+)\(", source))
    named = TEST.findall(FIELDS.read_text())

    assert len(named) > 100
    assert set(named) - there == set()
