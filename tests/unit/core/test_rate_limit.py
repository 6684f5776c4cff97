"""How fast a callback is called: the rate of the subscription, and the slow start after the receiver was busy."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import rate_limit as rate_limits
from pipeline.core.outcome import Delivered, Failed, Outcome, Rejected, ServerError
from pipeline.core.rate_limit import RateLimits, SlowStart, share_by_partitions, share_by_sizes
from pipeline.core.subscription import Handshake, Rate, RetryPolicy, Subscription

PLAIN = Subscription(id="s", revision=0, url="https://receiver.example/hook", retry=RetryPolicy(max_delay_seconds=8.0))
BUSY = [Rejected(429), ServerError(503)]


def paced(per_second: float, burst: int = 1) -> Subscription:
    return replace(PLAIN, rate=Rate(per_second, burst))


def calls(pace: RateLimits, subscription: Subscription, now: float, until: float) -> list[float]:
    """The times at which a caller that always wants to call may do so."""
    made = []
    while now < until:
        wait = pace.turn(subscription, now)
        if not wait:
            made.append(now)
        now += wait
    return made


def test_a_subscription_without_a_rate_never_waits() -> None:
    pace = RateLimits()
    assert [pace.turn(PLAIN, 5.0) for _ in range(1000)] == [0.0] * 1000
    pace.saw(PLAIN, Delivered(200), 5.0)
    assert not pace._paces


def test_a_rate_spaces_the_calls() -> None:
    assert calls(RateLimits(), paced(2.0), 100.0, 102.1) == pytest.approx([100.0, 100.5, 101.0, 101.5, 102.0])


def test_workers_share_a_rate() -> None:
    half = RateLimits(lambda: 0.5)
    assert calls(half, paced(2.0), 0.0, 3.5) == [0.0, 1.0, 2.0, 3.0]


def test_a_burst_may_follow_an_idle_time() -> None:
    pace, subscription = RateLimits(), paced(1.0, burst=3)
    assert [pace.turn(subscription, 0.0) for _ in range(4)] == [0.0, 0.0, 0.0, 1.0]
    assert [pace.turn(subscription, 60.0) for _ in range(4)] == [0.0, 0.0, 0.0, 1.0], (
        "a longer idle time allows no larger burst"
    )


@given(
    st.floats(0.01, 1000),
    st.integers(1, 50),
    st.lists(st.floats(0, 10), min_size=1, max_size=200),
)
def test_no_caller_gets_more_than_rate_and_burst_allow(per_second: float, burst: int, steps: list[float]) -> None:
    pace, subscription, now, taken = RateLimits(), paced(per_second, burst), 0.0, 0
    for step in steps:
        now += step
        while not pace.turn(subscription, now):
            taken += 1
    assert taken <= burst + per_second * now * (1 + 1e-6) + 1e-3


@given(st.floats(0.01, 1000), st.integers(1, 50), st.floats(0, 1e6))
def test_a_caller_may_call_after_the_returned_wait(per_second: float, burst: int, now: float) -> None:
    pace, subscription = RateLimits(), paced(per_second, burst)
    while not (wait := pace.turn(subscription, now)):
        pass
    assert pace.turn(subscription, now + wait + 1e-6) == 0.0


def test_an_edited_rate_applies_to_the_next_call() -> None:
    pace = RateLimits()
    assert pace.turn(paced(0.1), 0.0) == 0.0
    assert pace.turn(paced(0.1), 0.0) == 10.0
    assert pace.turn(paced(100.0), 0.0) == 0.0
    assert pace.turn(PLAIN, 0.0) == 0.0


def test_the_lower_of_two_rates_applies() -> None:
    pace = RateLimits()
    asking = replace(PLAIN, handshake=Handshake("me"))
    pace.allow("s", 2.0)
    assert calls(pace, asking, 0.0, 1.6) == pytest.approx([0.0, 0.5, 1.0, 1.5])
    assert calls(pace, replace(asking, rate=Rate(1.0)), 10.0, 12.5) == pytest.approx([10.0, 11.0, 12.0])
    pace.allow("s", None)
    assert [pace.turn(asking, 20.0) for _ in range(9)] == [0.0] * 9
    pace.allow("s", 2.0)
    assert [pace.turn(PLAIN, 30.0) for _ in range(9)] == [0.0] * 9, "an edit has removed the handshake"


@pytest.mark.parametrize("busy", BUSY, ids=["429", "503"])
def test_after_a_busy_answer_the_rate_grows_with_each_success(busy: Outcome) -> None:
    pace, now, gaps = RateLimits(), 0.0, []
    assert pace.turn(PLAIN, now) == 0.0
    pace.saw(PLAIN, busy, now)
    for _ in range(30):
        wait = pace.turn(PLAIN, now)
        gaps.append(wait)
        now += wait
        if wait:
            assert pace.turn(PLAIN, now) == 0.0
        pace.saw(PLAIN, Delivered(200), now)

    assert gaps[0] == pytest.approx(rate_limits.FIRST_GAP_SECONDS)
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] == 0.0, "the slow start has ended"
    assert not pace._paces


def test_a_receiver_that_rejects_events_is_not_busy() -> None:
    pace, now = RateLimits(), 0.0
    pace.saw(PLAIN, ServerError(503), now)
    for _ in range(30):
        now += pace.turn(PLAIN, now)
        pace.turn(PLAIN, now)
        pace.saw(PLAIN, Rejected(422), now)
    assert not pace._paces


@pytest.mark.parametrize("outcome", [ServerError(500), Rejected(408), Failed("silent", may_have_arrived=True)])
def test_only_busy_answers_widen_the_gap(outcome: Outcome) -> None:
    pace = RateLimits()
    pace.saw(PLAIN, ServerError(503), 0.0)
    assert pace.turn(PLAIN, 0.5) == 0.0
    pace.saw(PLAIN, outcome, 0.5)
    assert pace.turn(PLAIN, 0.5) == pytest.approx(0.5)


def test_a_retry_after_header_outlasts_the_slow_start() -> None:
    pace, now = RateLimits(), 0.0
    pace.saw(PLAIN, ServerError(503), now)
    while pace._paces["s"].gap > 2 * rate_limits.NO_GAP_SECONDS:
        pace.saw(PLAIN, Delivered(200), now)
    pace.saw(PLAIN, Rejected(429, b"", 60.0), now)
    for _ in range(3):
        pace.saw(PLAIN, Delivered(200), now)
    assert pace.turn(PLAIN, now) == pytest.approx(60.0)


def test_while_busy_the_gap_doubles_up_to_the_longest_delay() -> None:
    pace, now, gaps = RateLimits(), 0.0, []
    for _ in range(8):
        now += pace.turn(PLAIN, now)
        gaps.append(pace.turn(PLAIN, now))
        pace.saw(PLAIN, ServerError(503), now)
        gaps[-1] = pace.turn(PLAIN, now)
    assert gaps == pytest.approx([0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0])


def test_simultaneous_busy_answers_count_as_one() -> None:
    pace = RateLimits()
    for _ in range(20):
        pace.turn(PLAIN, 3.0)
    for _ in range(20):
        pace.saw(PLAIN, Rejected(429), 3.1)
    assert pace.turn(PLAIN, 3.1) == pytest.approx(0.5)


def test_a_retry_after_header_is_limited_by_the_policy() -> None:
    pace = RateLimits()
    pace.saw(PLAIN, Rejected(429, b"", 5.0), 100.0)
    assert pace.turn(PLAIN, 101.0) == pytest.approx(4.0)
    assert pace.turn(PLAIN, 105.0) == 0.0
    pace.saw(PLAIN, ServerError(503, b"", 1e9), 200.0)
    assert pace.turn(PLAIN, 200.0) == pytest.approx(80.0), "ten times the longest delay"


@pytest.mark.parametrize("outcome", [Rejected(400), ServerError(500), Rejected(408)])
def test_other_answers_cause_no_slow_start(outcome: Outcome) -> None:
    pace = RateLimits()
    pace.saw(PLAIN, outcome, 1.0)
    assert pace.turn(PLAIN, 1.0) == 0.0


@pytest.mark.parametrize("busy", [ServerError(503), Rejected(429, retry_after_seconds=5.0)])
def test_an_edit_ends_a_slow_start_and_a_retry_after_wait(busy: Outcome) -> None:
    pace = RateLimits()
    for now in (0.0, 10.0, 20.0):
        pace.turn(PLAIN, now)
        pace.saw(PLAIN, busy, now)
    assert pace.turn(PLAIN, 20.1) > 1.0

    resumed = replace(PLAIN, revision=1)
    assert [pace.turn(resumed, 20.1) for _ in range(3)] == [0.0] * 3
    pace.saw(resumed, busy, 20.2)
    assert pace.turn(resumed, 20.2) > 0.4, "a busy receiver is still recognised"


def test_a_clock_set_back_delays_a_call_by_at_most_one_gap() -> None:
    pace, subscription = RateLimits(), paced(1.0)
    assert pace.turn(subscription, 1000.0) == 0.0
    assert pace.turn(subscription, 10.0) == pytest.approx(1.0)


def test_the_number_of_tracked_subscriptions_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "MAX_PACES", 3)
    pace = RateLimits()
    for number in range(10):
        pace.turn(replace(paced(1.0), id=f"s{number}"), 0.0)
    assert len(pace._paces) == 3


def test_a_rate_allowed_in_a_handshake_is_never_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "MAX_PACES", 3)
    pace, asking = RateLimits(), replace(PLAIN, handshake=Handshake("me"))
    pace.allow("s", 1.0)
    for number in range(10):
        pace.turn(replace(paced(1.0), id=f"s{number}"), 0.0)
    assert [pace.turn(asking, 5.0) for _ in range(2)] == [0.0, 1.0]


def test_a_slow_start_is_reported_until_it_ends() -> None:
    pace, now = RateLimits(), 100.0
    assert pace.slow_starts(now, 9) == {}
    pace.saw(PLAIN, ServerError(503), now)
    assert pace.slow_starts(now, 9) == {"s": SlowStart(0, 2.0, 100.5)}
    pace.saw(replace(PLAIN, id="other"), ServerError(503), now)
    assert len(pace.slow_starts(now, 1)) == 1
    while pace.slow_start("s", now) is not None:
        now += pace.turn(PLAIN, now) or 1.0
        pace.saw(PLAIN, Delivered(200), now)
    assert set(pace.slow_starts(now, 9)) == {"other"}


def test_a_retry_after_header_is_reported_until_it_has_passed() -> None:
    pace = RateLimits()
    pace.saw(PLAIN, Rejected(429, b"", 5.0), 100.0)
    assert pace.slow_start("s", 104.0) == SlowStart(0, None, 105.0)
    assert pace.slow_start("s", 105.0) is None


@pytest.mark.parametrize(
    ("owned", "counts", "by_partitions", "by_sizes"),
    [
        (0, [], 1.0, 1.0),
        (0, [4], 0.25, 1.0),
        (4, [4], 1.0, 1.0),
        (2, [4, 4], 0.25, 1.0),
        (3, [8, 4], 0.25, 0.5),
        (12, [8, 4], 1.0, 1.0),
    ],
)
def test_a_worker_s_share_of_a_rate_follows_partitions_or_sizes(
    owned: int, counts: list[int], by_partitions: float, by_sizes: float
) -> None:
    assert share_by_partitions(owned, counts) == by_partitions
    assert share_by_sizes(owned, counts) == by_sizes
