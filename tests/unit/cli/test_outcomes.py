"""When the outcome of a change is known to the command that waits for it."""

from dataclasses import replace

import pytest

from pipeline.cli.outcomes import Action, is_settled, not_reached, outcome_row
from pipeline.cluster.state import LaneSummary, State, SubscriptionState
from pipeline.core.model import Cause
from tests.support.fixed_view import NOW, failed, live

AGAIN = Cause("server-error", "the callback answered 503", 41, NOW)


COUNTS = ((2, 2), (None, 1000), (None, None))
"""Numbers of waiting events: exact, an upper bound, unknown."""


def standing(state: State, *lanes: State) -> SubscriptionState:
    return replace(live("s"), state=state, lanes=tuple(LaneSummary("events", 0, lane, None) for lane in lanes))


@pytest.mark.parametrize(
    ("action", "after", "settled"),
    [
        ("resume", live("s"), True),
        ("resume", failed("s"), False),  # no worker has written a row since the command
        ("resume", replace(failed("s"), lanes=(replace(failed("s").lanes[0], cause=AGAIN),)), True),
        ("resume", standing("retrying", "retrying"), False),
        ("resume", standing("paused", "paused"), False),
        ("start", standing("behind", "behind"), True),
        ("replay", standing("unowned"), False),
        ("pause", standing("paused", "behind"), False),
        ("pause", standing("paused", "paused"), True),
        ("pause", standing("paused"), True),
        ("stop", standing("paused", "paused"), True),
        ("stop", standing("live"), False),
        ("resume", None, True),
        ("resume", replace(standing("paused", "paused"), begins_at=NOW), True),
    ],
)
def test_rows_written_before_a_command_do_not_count(
    action: Action, after: SubscriptionState | None, *, settled: bool
) -> None:
    assert is_settled(failed("s"), after, action) is settled


def test_a_wait_that_ends_without_a_worker_names_the_reason() -> None:
    text = not_reached([replace(failed("s"), lacks_worker=True), failed("t"), None], 4, 3)
    assert text == (
        "3 of 4 subscriptions did not reach the intended state within 3 s; 1 of them has no worker: start workers"
    )
    assert not_reached([failed("t")], 4, 3).endswith(" within 3 s")


def test_an_outcome_marks_an_upper_bound_of_the_waiting_events() -> None:
    counts = [outcome_row("s", replace(failed("s"), waiting=exact, waiting_at_most=most))[2] for exact, most in COUNTS]
    assert counts == ["2", "≤1,000", "?"]


def test_an_outcome_names_the_period_in_which_events_are_sent() -> None:
    early = outcome_row("s", replace(standing("paused"), begins_at=90.0))
    assert early[3] == "it begins at its startingAt, 1970-01-01T00:01:30Z"
    late = outcome_row("s", replace(standing("closed"), ended_at=90.0))
    assert late[3] == "it ended at its endingAt, 1970-01-01T00:01:30Z"
