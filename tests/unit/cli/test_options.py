"""Errors in options, which are found before a broker is asked."""

import pytest

from pipeline.cli.events import since_ms
from pipeline.cli.match import rows
from pipeline.cluster.verdicts import Verdict
from pipeline.core.errors import ConfigurationError
from pipeline.core.subscription import Subscription


@pytest.mark.parametrize("text", ["soon", "1969-12-31T00:00:00Z"])
def test_an_error_about_a_time_names_the_option(text: str) -> None:
    with pytest.raises(ConfigurationError, match=f'^--since: "{text}" is ') as caught:
        since_ms(text)
    assert len(caught.value.problems) == 1
    assert since_ms("1970-01-01T00:00:01Z") == 1000


def test_a_time_is_printed_as_it_was_understood(capsys: pytest.CaptureFixture[str]) -> None:
    assert since_ms("1970-01-01T00:00:01Z") == 1000
    assert capsys.readouterr().err == ""
    assert since_ms("1970-01-01T02:00:01.5+02:00") == 1500
    assert since_ms("1769860800") == 1_769_860_800_000
    assert capsys.readouterr().err == (
        "--since 1970-01-01T02:00:01.5+02:00: since 1970-01-01T00:00:01.500Z\n"
        "--since 1769860800: since 2026-01-31T12:00:00Z\n"
    )


def test_a_matching_subscription_in_failure_is_marked() -> None:
    verdict = Verdict(Subscription("s", 1, "https://example.com"), gets_it=True)
    assert rows(verdict) == [("s", "yes", "it has no filter")]
    assert rows(verdict, [0, 1, 3]) == [
        ("s", "yes", "it has no filter; it is in FAILURE in partitions 0-1, 3, where its events wait")
    ]
