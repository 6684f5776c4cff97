"""The table of attempts."""

from pipeline.cli.attempts import LONGEST_RESPONSE, rows
from pipeline.cluster.attempts import Entry, Result


def test_responses_are_cut_and_errors_are_shown_in_full() -> None:
    error = f"10.0.0.1 is in the private network {'x' * 100}; WEBHOOKS_ALLOW_PRIVATE_NETWORKS can allow it"
    result = Result("s", 7, 1.0, "retry", error=error, response="y" * 500, next_at=60.0)
    [row] = rows([Entry("events-0-7", ("events", 0, 7), result)])
    assert row[-1] == f"{error}; again at 1970-01-01T00:01:00Z; {'y' * (LONGEST_RESPONSE - 1)}…"
