"""The tables of docs/delivery.md: what the policy decides for each outcome, and how misbehaving receivers are handled.

`python -m tests.support.outcome_table` writes both tables into the document. test_outcome_table.py compares them.
"""

from dataclasses import replace
from pathlib import Path
from typing import Final

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
from pipeline.core.policy import DeadLetter, Decision, Drop, Retry, Rules, Settle, Stop, decide
from pipeline.core.subscription import Interrupt, Qos, RetryPolicy
from tests.support.hostile import TRICKS

README: Final = Path(__file__).parents[2] / "docs" / "delivery.md"
BEGIN: Final = "<!-- {}: written by `python -m tests.support.outcome_table` -->"
END: Final = "<!-- end of {} -->"

OUTCOMES: Final[list[tuple[str, Outcome]]] = [
    ("2xx", Delivered(200)),
    ("1xx as the final answer", Rejected(101)),
    ("3xx (redirects are not followed)", Rejected(302)),
    ("401 to an access token", Rejected(401, token_used=True)),
    ("408, 425, 429", Rejected(429)),
    ("410", Rejected(410)),
    ("any other 4xx", Rejected(400)),
    ("5xx, and any status above 599", ServerError(503)),
    ("no connection: refused, DNS, TLS, proxy, an address that is not allowed", Failed("", may_have_arrived=False)),
    ("a timeout, an answer that breaks off or is not HTTP", Failed("", may_have_arrived=True)),
    ("the receiver does not permit calls (`handshake`)", NotPermitted("")),
    ("the token endpoint refuses", TokenRefused("")),
    ("the token endpoint is unavailable", TokenUnavailable("")),
]
_DEFAULT: Final = Interrupt()
_TURNED: Final = {
    "interruptConsumptionOnServerError: false": replace(_DEFAULT, on_server_error=False),
    "interruptConsumptionOnException: false": replace(_DEFAULT, on_exception=False),
    "interruptConsumptionOnGone: true": replace(_DEFAULT, on_gone=True),
}
_TITLES: Final = (
    "outcome",
    "`auto`, `at-least-once`",
    "`at-most-once`",
    "in the end, with a dead-letter topic",
    "without one",
    "`none`",
)


def table() -> str:
    """The table, in Markdown."""
    rows = [_TITLES, *(("---",) * len(_TITLES),), *(_row(name, outcome) for name, outcome in OUTCOMES)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(name: str, outcome: Outcome) -> tuple[str, ...]:
    return (
        name,
        _again(Qos.AT_LEAST_ONCE, outcome),
        _again(Qos.AT_MOST_ONCE, outcome),
        _end(outcome),
        _word(_decided(outcome, attempt=100, has_dead_letters=False)),
        _word(_decided(outcome, qos=Qos.NONE)),
    )


def _decided(
    outcome: Outcome,
    *,
    qos: Qos = Qos.AT_LEAST_ONCE,
    attempt: int = 1,
    interrupt: Interrupt = _DEFAULT,
    has_dead_letters: bool = True,
) -> Decision:
    """The decision at the first attempt or, with a high *attempt*, at the last one."""
    rules = Rules(qos, RetryPolicy(), interrupt, has_dead_letters)
    return decide(rules, attempt, outcome, token_renewed=attempt > 1)


def _again(qos: Qos, outcome: Outcome) -> str:
    match _decided(outcome, qos=qos):
        case Retry(renew_token=True):
            return "once, with a fresh token"
        case Retry(after_seconds=0.0):
            return "at once"
        case Retry():
            return "retried"
        case Settle():
            return ""
        case _:
            return "not retried"


def _end(outcome: Outcome) -> str:
    usual = _decided(outcome, attempt=100)
    words = [_word(usual)]
    for flag, interrupt in _TURNED.items():
        turned = _decided(outcome, attempt=100, interrupt=interrupt)
        if turned != usual:
            words.append(f"{_word(turned)} with `{flag}`")
    return "; ".join(words)


def _word(decision: Decision) -> str:
    match decision:
        case Settle():
            return "delivered"
        case DeadLetter(reason):
            return f"dead letter `{reason}`"
        case Stop(kind):
            return f"FAILURE `{kind}`"
        case Drop():
            return "dropped and counted"
        case Retry():
            raise AssertionError("the decision at the last attempt can't be a retry")


def tricks() -> str:
    """The table of receivers' tricks and their outcomes, in Markdown."""
    rows = [("the receiver sends or does", "outcome"), ("---", "---"), *((trick.about, trick.fate) for trick in TRICKS)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


TABLES: Final = {"outcomes": table, "tricks": tricks}


def main() -> None:
    """Write the tables into the document."""
    text = README.read_text()
    for name, made in TABLES.items():
        begin, end = BEGIN.format(name), END.format(name)
        before, rest = text.split(begin)
        text = f"{before}{begin}\n\n{made()}\n\n{end}{rest.split(end)[1]}"
    README.write_text(text)


if __name__ == "__main__":
    main()
