"""The table of outcomes, cell by cell, and the delays between attempts.

`TABLE` is the contract: one row per outcome, one column per question. For every combination of QoS, retries left,
dead-letter topic and interrupt flags, the test derives the expected decision from the row.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any, Literal, NamedTuple, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.outcome import (
    Delivered,
    Failed,
    NotPermitted,
    Outcome,
    Rejected,
    ServerError,
    TokenRefused,
    TokenUnavailable,
)
from pipeline.core.policy import DeadLetter, Decision, Drop, Retry, Rules, Settle, Stop, decide, delay
from pipeline.core.subscription import Interrupt, Jitter, Qos, RetryPolicy, RetryStrategy

RETRY = RetryPolicy(max_attempts=2, initial_delay_seconds=10.0, max_delay_seconds=30.0, jitter=Jitter.NONE)


class Row(NamedTuple):
    """One row of the table.

    Attributes:
        retried: whether auto and at-least-once retry after this outcome.
        unsent: whether the request provably did not reach the callback, so that at-most-once retries, too.
        cause: the cause in the row, if the outcome leads to FAILURE.
        letter: the reason of the dead letter; None if there is none, because the event is not at fault.
        flag: the interrupt flag that stops the subscription in spite of a dead-letter topic.
    """

    outcome: Outcome
    retried: Literal["never", "by policy", "with a fresh token"]
    unsent: bool
    cause: Literal["rejected", "gone", "server-error", "exception", "token", "token-unavailable", "handshake"]
    letter: Literal["rejected", "server-error", "exception"] | None
    flag: Literal["server-error", "exception", "gone"] | None = None


SENT, UNSENT = False, True
REFUSED = Failed("refused", may_have_arrived=False)
BROKEN = Failed("broken off", may_have_arrived=True)
SILENT = Failed("timed out", may_have_arrived=True, timed_out=True)
# fmt: off
TABLE = [
    Row(Rejected(408),                  "by policy",          SENT,   "rejected",     "rejected"),
    Row(Rejected(425),                  "by policy",          SENT,   "rejected",     "rejected"),
    Row(Rejected(429),                  "by policy",          SENT,   "rejected",     "rejected"),
    Row(Rejected(410),                  "never",              SENT,   "gone",         "rejected",     "gone"),
    Row(Rejected(401, token_used=True), "with a fresh token", SENT,   "rejected",     "rejected"),
    Row(Rejected(401),                  "never",              SENT,   "rejected",     "rejected"),
    Row(Rejected(400),                  "never",              SENT,   "rejected",     "rejected"),
    Row(Rejected(404),                  "never",              SENT,   "rejected",     "rejected"),
    Row(Rejected(302),                  "never",              SENT,   "rejected",     "rejected"),
    Row(Rejected(101),                  "never",              SENT,   "rejected",     "rejected"),
    Row(ServerError(500),               "by policy",          SENT,   "server-error", "server-error", "server-error"),
    Row(ServerError(503),               "by policy",          SENT,   "server-error", "server-error", "server-error"),
    Row(REFUSED,                        "by policy",          UNSENT, "exception",    "exception",    "exception"),
    Row(BROKEN,                         "by policy",          SENT,   "exception",    "exception",    "exception"),
    Row(SILENT,                         "by policy",          SENT,   "exception",    "exception",    "exception"),
    Row(TokenRefused("bad client"),     "never",              UNSENT, "token",        None),
    Row(TokenUnavailable("503"),        "by policy",          UNSENT, "token-unavailable", None),
    Row(NotPermitted("no"),             "never",              UNSENT, "handshake",    None),
]
# fmt: on


class Cell(NamedTuple):
    """The conditions, in addition to the outcome, on which the decision depends."""

    qos: Qos
    enabled: bool
    attempt: int
    token_renewed: bool
    has_dead_letters: bool
    flags: frozenset[str]


CELLS = [
    Cell(qos, enabled, attempt, token_renewed, has_dead_letters, flags)
    for qos, enabled, attempt, token_renewed, has_dead_letters, flags in product(
        Qos,
        (True, False),
        (1, 2, 3),
        (False, True),
        (False, True),
        [frozenset(), frozenset({"server-error"}), frozenset({"exception"}), frozenset({"gone"})],
    )
]


def expected(row: Row, cell: Cell) -> Decision:
    """The decision according to the table."""
    if cell.qos is Qos.NONE:
        is_rejected = isinstance(row.outcome, Rejected)
        return DeadLetter("rejected") if is_rejected and cell.has_dead_letters else Drop()
    may_be_sent_again = cell.qos is not Qos.AT_MOST_ONCE or row.unsent
    if row.retried == "with a fresh token" and may_be_sent_again and not cell.token_renewed:
        return Retry(0.0, renew_token=True)
    retries_left = cell.enabled and cell.attempt <= RETRY.max_attempts
    if row.retried == "by policy" and may_be_sent_again and retries_left:
        return Retry(delay(RETRY, cell.attempt, row.outcome))
    if row.letter is None or not cell.has_dead_letters or row.flag in cell.flags:
        return Stop(row.cause)
    return DeadLetter(row.letter)


def rules(cell: Cell) -> Rules:
    retry = replace(RETRY, enabled=cell.enabled)
    interrupt = Interrupt("server-error" in cell.flags, "exception" in cell.flags, "gone" in cell.flags)
    return Rules(cell.qos, retry, interrupt, cell.has_dead_letters)


def test_every_kind_of_outcome_has_a_row() -> None:
    assert {type(row.outcome) for row in TABLE} | {Delivered} == set(get_args(Outcome))


@pytest.mark.parametrize("row", TABLE, ids=lambda row: str(row.outcome))
def test_every_decision_is_as_the_table_says(row: Row) -> None:
    wrong = {}
    for cell in CELLS:
        decided = decide(rules(cell), cell.attempt, row.outcome, token_renewed=cell.token_renewed)
        if decided != expected(row, cell):
            wrong[cell] = decided
    assert wrong == {}


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_2xx_always_means_delivered(cell: Cell) -> None:
    assert decide(rules(cell), cell.attempt, Delivered(204), token_renewed=cell.token_renewed) == Settle()


@pytest.mark.parametrize("outcome", [row.outcome for row in TABLE], ids=str)
def test_without_dead_letters_no_interrupt_option_drops_an_event(outcome: Outcome) -> None:
    for qos, flag in product((Qos.AUTO, Qos.AT_MOST_ONCE, Qos.AT_LEAST_ONCE), (False, True)):
        without = Rules(qos, RetryPolicy(enabled=False), Interrupt(flag, flag, flag), has_dead_letters=False)
        assert isinstance(decide(without, 1, outcome, token_renewed=True), Stop)


@pytest.mark.parametrize("outcome", [row.outcome for row in TABLE if not row.unsent], ids=str)
def test_at_most_once_never_retries_what_may_have_arrived(outcome: Outcome) -> None:
    for has_dead_letters in (False, True):
        strict = Rules(Qos.AT_MOST_ONCE, RETRY, Interrupt(), has_dead_letters)
        assert not isinstance(decide(strict, 1, outcome), Retry)


LINEAR = RetryPolicy(
    strategy=RetryStrategy.LINEAR, initial_delay_seconds=10.0, max_delay_seconds=35.0, jitter=Jitter.NONE
)
EXPONENTIAL = RetryPolicy(
    strategy=RetryStrategy.EXPONENTIAL, initial_delay_seconds=10.0, max_delay_seconds=35.0, jitter=Jitter.NONE
)
NO_HINT = ServerError(500)


@pytest.mark.parametrize(
    ("policy", "delays"),
    [(LINEAR, [10.0, 20.0, 30.0, 35.0, 35.0]), (EXPONENTIAL, [10.0, 20.0, 35.0, 35.0, 35.0])],
    ids=["linear", "exponential"],
)
def test_delays_grow_up_to_the_maximum(policy: RetryPolicy, delays: list[float]) -> None:
    assert [delay(policy, attempt, NO_HINT) for attempt in range(1, 6)] == delays


@pytest.mark.parametrize(
    ("asked", "waits"),
    [(None, 10.0), (0.0, 10.0), (9.9, 10.0), (11.0, 11.0), (350.0, 350.0), (351.0, 350.0), (1e12, 350.0)],
)
@pytest.mark.parametrize(
    "busy",
    [lambda s: Rejected(429, b"", s), lambda s: ServerError(503, b"", s), lambda s: TokenUnavailable("429", s)],
    ids=["rejected", "server-error", "token-unavailable"],
)
def test_a_retry_after_header_is_bounded_by_the_policy_s_delays(
    busy: Callable[[float | None], Outcome], asked: float | None, waits: float
) -> None:
    assert delay(EXPONENTIAL, 1, busy(asked)) == waits


@given(
    st.sampled_from([LINEAR, EXPONENTIAL]),
    st.integers(1, 10**9),
    st.none() | st.floats(0, 1e18, allow_nan=False),
)
def test_delays_are_between_the_first_and_ten_times_the_maximum(
    policy: RetryPolicy, attempt: int, asked: float | None
) -> None:
    assert 10.0 <= delay(policy, attempt, Rejected(429, b"", asked)) <= 350.0


@given(st.sampled_from([LINEAR, EXPONENTIAL]), st.integers(1, 5_000))
def test_delays_never_shrink(policy: RetryPolicy, attempt: int) -> None:
    assert delay(policy, attempt, NO_HINT) <= delay(policy, attempt + 1, NO_HINT)


@given(st.sampled_from(TABLE), st.integers(0, 100), st.integers(1, 200))
def test_there_are_never_more_tries_than_the_policy_allows(row: Row, most: int, attempt: int) -> None:
    allowed = Rules(Qos.AT_LEAST_ONCE, RetryPolicy(max_attempts=most), Interrupt(), has_dead_letters=True)
    decided = decide(allowed, attempt, row.outcome, token_renewed=True)
    assert not (isinstance(decided, Retry) and attempt > most)


# ------------------------------------------------------------------- the retry options of a subscription


def ruled(qos: Qos = Qos.AT_LEAST_ONCE, *, has_dead_letters: bool = True, **retry: Any) -> Rules:
    plain = RetryPolicy(max_attempts=9, initial_delay_seconds=10.0, max_delay_seconds=40.0, jitter=Jitter.NONE)
    policy = replace(plain, **retry)
    return Rules(qos, policy, Interrupt(), has_dead_letters)


@pytest.mark.parametrize("status", [*range(300, 400), *range(400, 500)])
def test_the_statuses_of_a_subscription_replace_the_defaults(status: int) -> None:
    chosen = ruled(statuses=frozenset({404, 429}))
    assert isinstance(decide(chosen, 1, Rejected(status)), Retry) == (status in {404, 429})


def test_a_server_error_that_is_not_listed_is_not_retried() -> None:
    chosen = ruled(statuses=frozenset({503}))
    assert isinstance(decide(chosen, 1, ServerError(503)), Retry)
    assert decide(chosen, 1, ServerError(500)) == Stop("server-error")
    assert decide(chosen, 1, ServerError(777)) == Stop("server-error"), "a status above 599 is treated as 500"
    assert isinstance(decide(ruled(statuses=frozenset({500})), 1, ServerError(777)), Retry)


@given(st.sampled_from([LINEAR, EXPONENTIAL]), st.integers(1, 100), st.floats(0, 1))
def test_jitter_stays_within_its_range(policy: RetryPolicy, attempt: int, chance: float) -> None:
    nominal = delay(policy, attempt, NO_HINT, chance)
    full, around = replace(policy, jitter=Jitter.FULL), replace(policy, jitter=Jitter.AROUND)
    longest = min(1.5 * nominal, policy.max_delay_seconds)
    assert delay(full, attempt, NO_HINT, chance) == chance * nominal
    assert delay(around, attempt, NO_HINT, 0.0) == 0.5 * nominal
    assert delay(around, attempt, NO_HINT, 1.0) == pytest.approx(longest)
    assert 0.5 * nominal <= delay(around, attempt, NO_HINT, chance) <= longest * (1 + 1e-9)


def test_default_retries_are_spread_around_their_delays() -> None:
    """The delays are 10, 20 and 30 seconds, each between 0.5 and 1.5 times as long, and at most the longest delay."""
    waits = [[delay(RetryPolicy(), attempt, NO_HINT, chance) for attempt in (1, 2, 3)] for chance in (0.0, 0.5, 1.0)]
    assert waits == [[5.0, 10.0, 15.0], [10.0, 20.0, 22.5], [15.0, 30.0, 30.0]]


@given(st.floats(0, 1))
def test_jitter_does_not_shorten_a_retry_after_header(chance: float) -> None:
    assert delay(EXPONENTIAL, 1, Rejected(429, b"", 12.0), chance) == 12.0


@pytest.mark.parametrize("outcome", [Rejected(429), ServerError(503), BROKEN])
def test_no_retry_begins_after_the_deadline(outcome: Outcome) -> None:
    limited = ruled(max_elapsed_seconds=60.0)
    assert decide(limited, 1, outcome, elapsed_seconds=50.0) == Retry(10.0)
    assert decide(limited, 1, outcome, elapsed_seconds=50.1) == DeadLetter("expired")
    assert isinstance(
        decide(ruled(max_elapsed_seconds=60.0, has_dead_letters=False), 1, outcome, elapsed_seconds=50.1), Stop
    )


def test_a_retry_after_header_beyond_the_deadline_ends_retries() -> None:
    limited = ruled(max_elapsed_seconds=60.0)
    assert decide(limited, 1, Rejected(429, b"", 61.0)) == DeadLetter("expired")


def test_after_the_deadline_a_missing_token_is_still_a_failure() -> None:
    assert decide(ruled(max_elapsed_seconds=1.0), 1, TokenUnavailable("503"), elapsed_seconds=2.0) == Stop(
        "token-unavailable"
    )
