"""The tables of docs/delivery.md agree with the policy and with the tests of misbehaving receivers."""

from typing import get_args

import pytest

from pipeline.core.outcome import Outcome
from tests.support.outcome_table import OUTCOMES, README, TABLES


@pytest.mark.parametrize("name", TABLES)
def test_the_table_is_up_to_date(name: str) -> None:
    assert TABLES[name]() in README.read_text(), "write it again: python -m tests.support.outcome_table"


def test_every_kind_of_outcome_has_a_row() -> None:
    assert {type(outcome) for _, outcome in OUTCOMES} == set(get_args(Outcome))
