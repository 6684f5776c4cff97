"""docs/compatibility.md lists what is public, as the code has it, and each list that it points to is held by a test."""

import re
from pathlib import Path

from pipeline.kafka import topics
from tests.support.public_names import PAGE, with_lists

TEXT = PAGE.read_text()


def test_commands_and_headers_are_those_of_the_code() -> None:
    """To mend it: `python -m tests.support.public_names`."""
    assert with_lists(TEXT) == TEXT


def test_every_topic_is_listed() -> None:
    named = [make("<app>") for name, make in vars(topics).items() if name.endswith("_topic")]
    assert len(named) >= 7
    assert [name for name in named if f"| `{name}` |" not in TEXT] == []


def test_the_tests_that_it_names_are_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)`", TEXT)
    assert len(named) >= 9
    assert [name for name in named if not (Path(__file__).parents[2] / name).exists()] == []
