"""The table of outcomes in pipeline/README.md says what the policy decides."""

from typing import get_args

from pipeline.outcome import Outcome
from tests.outcome_table import OUTCOMES, README, table


def test_the_table_is_the_one_that_the_policy_gives() -> None:
    assert table() in README.read_text(), "write it again: python -m tests.outcome_table"


def test_every_kind_of_outcome_has_a_row() -> None:
    assert {type(outcome) for _, outcome in OUTCOMES} == set(get_args(Outcome))
