"""A topic whose events are for no subscription is noticed, and a single mistake is not."""

import pytest

from pipeline.core.model import Record
from pipeline.core.outcome import Delivered
from pipeline.core.subscription import Subscription
from pipeline.observability.strays import ENOUGH, Strays
from pipeline.observability.telemetry import Telemetry

STRAY = Record("orders", 0, 7, b"order-7", b"{}")


def stray(telemetry: Telemetry, count: int) -> None:
    for number in range(count):
        reason = "undecodable" if number % 2 else "unknown-subscription"
        telemetry.dead_lettered(reason, subscription=None, event=STRAY)


def delivered(telemetry: Telemetry) -> None:
    telemetry.attempt_started()
    telemetry.attempted(Subscription("s", 1, "http://h/"), STRAY, 1, Delivered(200), 0.1)


def test_some_strays_are_no_matter(caplog: pytest.LogCaptureFixture) -> None:
    telemetry = Telemetry()
    strays = Strays("orders", telemetry)

    stray(telemetry, ENOUGH - 1)
    strays.look()

    assert strays.warning is None
    assert caplog.messages == []


def test_a_topic_of_strays_alone_is_a_warning_that_is_logged_while_more_of_them_come(
    caplog: pytest.LogCaptureFixture,
) -> None:
    telemetry = Telemetry()
    strays = Strays("orders", telemetry)

    stray(telemetry, ENOUGH - 2)
    strays.look()
    stray(telemetry, 2)
    strays.look()
    strays.look()

    assert caplog.messages == [strays.warning]
    assert strays.warning == (
        f"topic orders: none of the last {ENOUGH} events was for a subscription; "
        "the key of an event must be the id of its subscription"
    )
    stray(telemetry, 1)
    strays.look()
    assert caplog.messages[1:] == [strays.warning]


@pytest.mark.parametrize("how", ["an attempt", "one under way", "a filter"])
def test_an_event_of_a_subscription_ends_the_warning(how: str) -> None:
    telemetry = Telemetry()
    strays = Strays("orders", telemetry)
    stray(telemetry, ENOUGH)
    strays.look()
    assert strays.warning is not None

    stray(telemetry, ENOUGH)
    if how == "an attempt":
        delivered(telemetry)
    elif how == "one under way":
        telemetry.attempt_started()
    else:
        telemetry.settled("filtered")
    strays.look()

    assert strays.warning is None


def test_strays_without_a_dead_letter_topic_count_too() -> None:
    telemetry = Telemetry()
    strays = Strays("orders", telemetry)
    telemetry.dropped("unknown-subscription", ENOUGH - 1)
    telemetry.dropped("undecodable")

    strays.look()

    assert strays.warning is not None
