"""If the events of a topic are for no subscription, there is a warning. A single such event causes no warning."""

import pytest

from pipeline.core.model import PlainEvent
from pipeline.core.outcome import Delivered
from pipeline.core.subscription import Routing, Subscription
from pipeline.observability.telemetry import Telemetry
from pipeline.observability.unmatched import ENOUGH, UnmatchedEvents

STRAY = PlainEvent("orders", 0, 7, b"order-7", b"{}")


def stray(telemetry: Telemetry, count: int) -> None:
    for number in range(count):
        reason = "undecodable" if number % 2 else "unknown-subscription"
        telemetry.dead_lettered(reason, subscription=None, event=STRAY)


def delivered(telemetry: Telemetry) -> None:
    telemetry.attempt_started()
    telemetry.attempted(Subscription("s", 1, "http://h/"), STRAY, 1, Delivered(200), 0.1)


def test_a_few_unmatched_events_give_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    telemetry = Telemetry()
    unmatched = UnmatchedEvents(["orders"], telemetry, Routing.KEY)

    stray(telemetry, ENOUGH - 1)
    unmatched.look()

    assert unmatched.warning is None
    assert caplog.messages == []


def test_a_topic_without_matches_warns_while_events_arrive(
    caplog: pytest.LogCaptureFixture,
) -> None:
    telemetry = Telemetry()
    unmatched = UnmatchedEvents(["orders"], telemetry, Routing.KEY)

    stray(telemetry, ENOUGH - 2)
    unmatched.look()
    stray(telemetry, 2)
    unmatched.look()
    unmatched.look()

    assert caplog.messages == [unmatched.warning]
    assert unmatched.warning == (
        f"topic orders: none of the last {ENOUGH} events was for a subscription; "
        "the key of an event must be the id of its subscription"
    )
    stray(telemetry, 1)
    unmatched.look()
    assert caplog.messages[1:] == [unmatched.warning]


@pytest.mark.parametrize("how", ["an attempt", "one under way", "a filter"])
def test_an_event_of_a_subscription_ends_the_warning(how: str) -> None:
    telemetry = Telemetry()
    unmatched = UnmatchedEvents(["orders"], telemetry, Routing.KEY)
    stray(telemetry, ENOUGH)
    unmatched.look()
    assert unmatched.warning is not None

    stray(telemetry, ENOUGH)
    if how == "an attempt":
        delivered(telemetry)
    elif how == "one under way":
        telemetry.attempt_started()
    else:
        telemetry.settled("filtered")
    unmatched.look()

    assert unmatched.warning is None


def test_without_dead_letters_unmatched_events_count_too() -> None:
    telemetry = Telemetry()
    unmatched = UnmatchedEvents(["orders"], telemetry, Routing.KEY)
    telemetry.dropped("unknown-subscription", ENOUGH - 1)
    telemetry.dropped("undecodable")

    unmatched.look()

    assert unmatched.warning is not None


def test_with_match_no_record_key_causes_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    telemetry = Telemetry()
    unmatched = UnmatchedEvents(["orders"], telemetry, Routing.MATCH)

    stray(telemetry, ENOUGH)
    unmatched.look()

    assert (unmatched.warning, caplog.messages) == (None, [])
