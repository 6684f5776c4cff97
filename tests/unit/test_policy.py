"""The table of outcomes and what follows, cell by cell: what the README and the contract say, as data."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.model import Interrupt, Qos, RetryPolicy, RetryStrategy
from pipeline.outcome import Delivered, Failed, Outcome, Rejected, ServerError, TokenRefused, TokenUnavailable
from pipeline.policy import RETRY_AFTER_FACTOR, DeadLetter, Drop, Retry, Rules, Settle, Stop, decide, delay

RETRY = RetryPolicy(max_attempts=3, initial_delay_seconds=10.0, max_delay_seconds=30.0)
NO_RETRY = RetryPolicy(enabled=False)
GOES_ON = Interrupt(on_server_error=False, on_exception=False, on_gone=False)
STOPS = Interrupt(on_server_error=True, on_exception=True, on_gone=True)

OUTCOMES: dict[str, Outcome] = {
    "200": Delivered(200),
    "101": Rejected(101),
    "302": Rejected(302),
    "400": Rejected(400),
    "401": Rejected(401),
    "401 with a token": Rejected(401, token_used=True),
    "408": Rejected(408),
    "410": Rejected(410),
    "425": Rejected(425),
    "429": Rejected(429),
    "499": Rejected(499),
    "500": ServerError(500),
    "599": ServerError(599),
    "refused": Failed("connection refused", may_have_arrived=False),
    "broken": Failed("broken off", may_have_arrived=True),
    "timeout": Failed("no answer", may_have_arrived=True, timed_out=True),
    "token refused": TokenRefused("invalid_client"),
    "token unavailable": TokenUnavailable("HTTP 503"),
}

# What is done, in a word: a dead letter names its reason, a stop its cause.
#                     retries left   given up: with DLQ,  with DLQ,       without DLQ,
#                                    flags off            flags on        whatever the flags
ORDERED = {
    "200":               ("settle",  "settle",            "settle",       "settle"),
    "101":               ("-",       "dlq rejected",      "dlq rejected", "stop rejected"),
    "302":               ("-",       "dlq rejected",      "dlq rejected", "stop rejected"),
    "400":               ("-",       "dlq rejected",      "dlq rejected", "stop rejected"),
    "401":               ("-",       "dlq rejected",      "dlq rejected", "stop rejected"),
    "401 with a token":  ("-",       "dlq rejected",      "dlq rejected", "stop rejected"),
    "408":               ("retry",   "dlq rejected",      "dlq rejected", "stop rejected"),
    "410":               ("-",       "dlq rejected",      "stop gone",    "stop gone"),
    "425":               ("retry",   "dlq rejected",      "dlq rejected", "stop rejected"),
    "429":               ("retry",   "dlq rejected",      "dlq rejected", "stop rejected"),
    "499":               ("-",       "dlq rejected",      "dlq rejected", "stop rejected"),
    "500":               ("retry",   "dlq server-error",  "stop server-error", "stop server-error"),
    "599":               ("retry",   "dlq server-error",  "stop server-error", "stop server-error"),
    "refused":           ("retry",   "dlq exception",     "stop exception",    "stop exception"),
    "broken":            ("retry",   "dlq exception",     "stop exception",    "stop exception"),
    "timeout":           ("retry",   "dlq exception",     "stop exception",    "stop exception"),
    "token refused":     ("-",       "stop token",        "stop token",   "stop token"),
    "token unavailable": ("retry",   "stop token",        "stop token",   "stop token"),
}  # fmt: skip

# At-most-once gives up at once, except for what provably was not sent.
UNSENT = {"refused", "token unavailable"}


def word(rules: Rules, attempt: int, name: str) -> str:
    match decide(rules, attempt, OUTCOMES[name], token_renewed=True):
        case Settle():
            return "settle"
        case Retry():
            return "retry"
        case DeadLetter(reason):
            return f"dlq {reason}"
        case Stop(kind):
            return f"stop {kind}"
        case Drop():
            return "drop"


def given_up(name: str, interrupt: Interrupt, *, has_dead_letters: bool) -> str:
    """The right part of the table."""
    _, goes_on, stops, without = ORDERED[name]
    if not has_dead_letters:
        return without
    return goes_on if interrupt is GOES_ON else stops


CELLS = list(itertools.product(OUTCOMES, [GOES_ON, STOPS], [True, False]))


def test_every_outcome_has_a_row() -> None:
    assert ORDERED.keys() == OUTCOMES.keys()


@pytest.mark.parametrize("qos", [Qos.AUTO, Qos.AT_LEAST_ONCE])
@pytest.mark.parametrize(("name", "interrupt", "has_dead_letters"), CELLS)
def test_auto_and_at_least_once(qos: Qos, name: str, interrupt: Interrupt, has_dead_letters: bool) -> None:
    rules = Rules(qos, RETRY, interrupt, has_dead_letters)
    end = given_up(name, interrupt, has_dead_letters=has_dead_letters)
    first = ORDERED[name][0]
    assert [word(rules, attempt, name) for attempt in (1, 2, 3)] == 3 * [end if first == "-" else first]
    assert word(rules, 4, name) == end, "three retries after the first try"
    assert word(Rules(qos, NO_RETRY, interrupt, has_dead_letters), 1, name) == end


@pytest.mark.parametrize(("name", "interrupt", "has_dead_letters"), CELLS)
def test_at_most_once(name: str, interrupt: Interrupt, has_dead_letters: bool) -> None:
    rules = Rules(Qos.AT_MOST_ONCE, RETRY, interrupt, has_dead_letters)
    end = given_up(name, interrupt, has_dead_letters=has_dead_letters)
    assert word(rules, 1, name) == ("retry" if name in UNSENT else end)
    assert word(rules, 4, name) == end


@pytest.mark.parametrize(("name", "interrupt", "has_dead_letters"), CELLS)
def test_none_never_retries_and_never_stops(name: str, interrupt: Interrupt, has_dead_letters: bool) -> None:
    rules = Rules(Qos.NONE, RETRY, interrupt, has_dead_letters)
    expected = "drop"
    if isinstance(OUTCOMES[name], Delivered):
        expected = "settle"
    elif isinstance(OUTCOMES[name], Rejected) and has_dead_letters:
        expected = "dlq rejected"
    assert word(rules, 1, name) == expected


@pytest.mark.parametrize("retry", [RETRY, NO_RETRY])
@pytest.mark.parametrize("qos", [Qos.AUTO, Qos.AT_LEAST_ONCE])
def test_a_401_to_a_token_gets_one_fresh_token_at_once_whatever_the_retry_policy(qos: Qos, retry: RetryPolicy) -> None:
    rules = Rules(qos, retry, STOPS, has_dead_letters=False)
    outcome = OUTCOMES["401 with a token"]
    assert decide(rules, 4, outcome) == Retry(0.0, renew_token=True)
    assert decide(rules, 4, outcome, token_renewed=True) == Stop("rejected")


@pytest.mark.parametrize("qos", [Qos.AT_MOST_ONCE, Qos.NONE])
def test_a_401_to_a_token_is_an_answer_and_never_sent_again_where_that_could_repeat(qos: Qos) -> None:
    rules = Rules(qos, RETRY, STOPS, has_dead_letters=True)
    assert decide(rules, 1, OUTCOMES["401 with a token"]) == DeadLetter("rejected")


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (RetryStrategy.LINEAR, [10.0, 20.0, 30.0, 30.0]),
        (RetryStrategy.EXPONENTIAL, [10.0, 20.0, 30.0, 30.0]),
    ],
)
def test_the_delay_grows_up_to_its_maximum(strategy: RetryStrategy, expected: list[float]) -> None:
    retry = RetryPolicy(strategy=strategy, initial_delay_seconds=10.0, max_delay_seconds=30.0)
    assert [delay(retry, attempt, OUTCOMES["500"]) for attempt in (1, 2, 3, 4)] == expected


def test_linear_adds_and_exponential_doubles() -> None:
    linear = RetryPolicy(strategy=RetryStrategy.LINEAR, initial_delay_seconds=1.0, max_delay_seconds=1000.0)
    exponential = RetryPolicy(strategy=RetryStrategy.EXPONENTIAL, initial_delay_seconds=1.0, max_delay_seconds=1000.0)
    assert [delay(linear, attempt, OUTCOMES["500"]) for attempt in range(1, 6)] == [1, 2, 3, 4, 5]
    assert [delay(exponential, attempt, OUTCOMES["500"]) for attempt in range(1, 6)] == [1, 2, 4, 8, 16]


@pytest.mark.parametrize(
    ("asked", "expected"), [(None, 10.0), (0.0, 10.0), (5.0, 10.0), (15.0, 15.0), (299.0, 299.0), (1e9, 300.0)]
)
@pytest.mark.parametrize("kind", [Rejected, ServerError])
def test_retry_after_is_honoured_between_the_delay_and_ten_times_the_maximum(
    kind: type[Rejected | ServerError], asked: float | None, expected: float
) -> None:
    outcome = kind(429 if kind is Rejected else 503, retry_after_seconds=asked)
    assert decide(Rules(Qos.AUTO, RETRY, STOPS, has_dead_letters=True), 1, outcome) == Retry(expected)


@given(
    st.sampled_from(RetryStrategy),
    st.integers(1, 10**6),
    st.floats(1, 86_400),
    st.floats(1, 86_400),
    st.none() | st.floats(0, 1e12),
)
def test_no_wait_is_ever_out_of_bounds(
    strategy: RetryStrategy, attempt: int, initial: float, maximum: float, asked: float | None
) -> None:
    retry = RetryPolicy(strategy=strategy, initial_delay_seconds=initial, max_delay_seconds=maximum)
    wait = delay(retry, attempt, ServerError(503, retry_after_seconds=asked))
    assert min(initial, maximum) <= wait <= RETRY_AFTER_FACTOR * maximum
    assert delay(retry, attempt, ServerError(503)) <= maximum
