"""The state of deliveries in the API (web/api/states.py)."""

from dataclasses import replace

import pytest

from pipeline.cluster.state import SubscriptionState
from pipeline.core.rate_limit import SlowStart
from pipeline.subscriptions.edits import RESUME
from pipeline.web.api.states import as_needed
from tests.support.fixed_view import NOW, FixedView, failed, live

LIVE = live("sub-1")


@pytest.mark.parametrize(
    ("known", "is_written"),
    [
        ([LIVE], False),
        ([replace(LIVE, waiting=3)], False),
        ([replace(LIVE, slow_start=SlowStart(3, 0.5, NOW))], True),
        ([replace(LIVE, waiting=None)], True),
        ([replace(LIVE, state="retrying")], True),
        ([failed("sub-1")], True),
        ([], True),
    ],
)
def test_a_resume_is_needed_unless_the_subscription_is_live(
    known: list[SubscriptionState], *, is_written: bool
) -> None:
    assert as_needed(RESUME, FixedView(known), "sub-1").always == is_written
