"""The limit of open files: runtime/open_files.py."""

import pytest

from pipeline.runtime.open_files import raise_limit, shortage


def test_raising_the_limit_of_open_files_twice_changes_nothing() -> None:
    assert raise_limit() == raise_limit()


@pytest.mark.parametrize(("limit", "partitions", "is_short"), [(1024, 8, True), (1240, 8, False), (1240, 9, True)])
def test_a_limit_that_is_too_low_is_reported_with_what_is_needed(limit: int, partitions: int, is_short: bool) -> None:
    sentence = shortage(limit, partitions=partitions, max_in_flight=512)
    assert (sentence is not None) is is_short
    if sentence is not None:
        assert sentence.startswith(f"the limit of open files is {limit}; {partitions} partitions and ")
