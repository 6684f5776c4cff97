"""docs/compatibility.md lists the public names of the code. Each list that it links to is checked by a test."""

import re
from pathlib import Path

from pipeline.kafka import topics
from tests.support.public_names import PAGE, with_lists

TEXT = PAGE.read_text()


def test_commands_and_headers_are_documented_as_in_the_code() -> None:
    """If this fails, run `python -m tests.support.public_names`."""
    assert with_lists(TEXT) == TEXT


def test_every_topic_of_the_pipeline_is_documented() -> None:
    named = [make("<app>") for name, make in vars(topics).items() if name.endswith("_topic")]
    assert len(named) >= 7
    assert [name for name in named if f"| `{name}` |" not in TEXT] == []


def test_every_test_that_the_document_names_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)`", TEXT)
    assert len(named) >= 9
    assert [name for name in named if not (Path(__file__).parents[2] / name).exists()] == []
