"""The explanation of a subscription's state for the person on call."""

from dataclasses import replace
from typing import Final

import pytest
from cryptography.fernet import Fernet

from pipeline.cluster.explanation import explain
from pipeline.cluster.state import LaneSummary, State, SubscriptionState
from pipeline.core.attempts import Attempts, DeadLetterRun, FailedAttempt, Probes
from pipeline.core.errors import ConfigurationError
from pipeline.core.model import Cause
from pipeline.core.policy import CauseKind
from pipeline.core.rate_limit import SlowStart
from pipeline.http.ssrf_guard import Guard
from pipeline.subscriptions.secrets import SecretBox

OPENS: Final = "WEBHOOKS_ALLOW_PRIVATE_NETWORKS can allow it"
OTHER_KEYS: Final = (
    "the secret of 's' can't be decrypted: no key in WEBHOOKS_SECRET_KEYS fits, or the secret was copied from another "
    "place"
)

CAUSE = Cause("rejected", "the callback answered 400", 9, 60.0, Attempts(3, 40.0, 400))
FAILED = LaneSummary("orders", 2, "failure", "w:1", 9, cause=CAUSE)
STATE = SubscriptionState(
    "a b",
    "failure",
    7,
    "receiver.test:443",
    "auto",
    cause=CAUSE,
    attempts=3,
    failing_since=40.0,
    last_success_at=30.0,
    waiting=1204,
    waiting_at_most=1204,
    oldest_waiting_at=40.0,
    lanes=(FAILED, replace(FAILED, partition=3)),
)


def test_a_failure_has_a_complete_explanation() -> None:
    found = explain(STATE, names_topic=False)
    assert found.text == (
        "a b is in FAILURE in partitions 2-3, because the callback answered 400 (kind rejected, "
        "receiver receiver.test:443). It has been failing since 1970-01-01T00:00:40Z (3 attempts). "
        "1,204 events are waiting, the oldest since 1970-01-01T00:00:40Z. The last known delivery was at "
        "1970-01-01T00:00:30Z. "
        "Change the receiver so that it accepts the event, then resume; or skip the event."
    )
    assert found.commands == ("webhooks subscriptions resume 'a b'", "webhooks subscriptions skip 'a b' 2 9")


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (302, "Redirects are not followed. Correct the callback URL, then resume; or skip the event."),
        (401, "Correct the credentials in the subscription or at the receiver, then resume; or skip the event."),
        (403, "Correct the credentials in the subscription or at the receiver, then resume; or skip the event."),
        (404, "Correct the callback URL or the receiver, then resume; or skip the event."),
        (422, "Change the receiver so that it accepts the event, then resume; or skip the event."),
        (429, "Limit the subscription's rate, or let it retry, then resume; or skip the event."),
        (None, "Change the receiver so that it accepts the event, then resume; or skip the event."),
    ],
)
def test_the_advice_on_a_rejection_suits_the_status(status: int | None, advice: str) -> None:
    cause = replace(CAUSE, attempts=Attempts(1, 40.0, status))
    assert explain(replace(STATE, cause=cause), names_topic=False).text.endswith(f"Z. {advice}")


def test_a_slow_start_is_explained() -> None:
    found = explain(replace(STATE, state="retrying", slow_start=SlowStart(7, 0.5, 90.0)), names_topic=False)
    assert (
        " Its receiver was busy, so its rate is limited: slow start, at most 0.5 requests per second and no request "
        "before 1970-01-01T00:01:30Z. "
    ) in found.text
    held = explain(replace(STATE, slow_start=SlowStart(7, None, 90.0)), names_topic=False)
    assert "its rate is limited: no request before 1970-01-01T00:01:30Z. " in held.text


def test_a_resume_is_not_advised_outside_of_the_period() -> None:
    """It would change nothing."""
    plain = replace(STATE, cause=None, attempts=0, failing_since=None, lanes=(), last_success_at=None)
    edit = ("webhooks subscriptions get 'a b' > subscription.yaml", "webhooks subscriptions apply subscription.yaml")
    early = explain(replace(plain, state="paused", begins_at=90.0), names_topic=False)
    assert early.text.startswith("a b is paused until its startingAt, 1970-01-01T00:01:30Z. 1,204 events are waiting")
    assert early.text.endswith("It begins by itself. To begin earlier, apply it with an earlier startingAt.")
    late = explain(replace(plain, state="closed", ended_at=90.0), names_topic=False)
    assert late.text.startswith("a b is closed since its endingAt, 1970-01-01T00:01:30Z. ")
    assert late.text.endswith("To open it again, apply it with a later endingAt, or without one.")
    assert early.commands == late.commands == edit


def test_with_several_topics_a_position_names_its_topic() -> None:
    found = explain(STATE, names_topic=True)
    assert "in partitions 2-3 of orders, because" in found.text
    assert found.commands[1] == "webhooks subscriptions skip 'a b' 2 9 --topic orders"


@pytest.mark.parametrize(
    ("waiting", "at_most", "text"),
    [
        (0, 0, " No events are waiting. "),
        (1, 1, " 1 event is waiting, the oldest since 1970-01-01T00:00:40Z. "),
        (None, 1, " At most 1 event is waiting, the oldest since 1970-01-01T00:00:40Z. "),
        (None, 5, " At most 5 events are waiting, the oldest since 1970-01-01T00:00:40Z. "),
        (None, None, " The number of waiting events is unknown. "),
    ],
)
def test_an_explanation_marks_a_count_that_is_an_upper_bound(
    waiting: int | None, at_most: int | None, text: str
) -> None:
    assert text in explain(replace(STATE, waiting=waiting, waiting_at_most=at_most), names_topic=False).text


def test_a_probed_subscription_needs_no_action() -> None:
    cause = replace(CAUSE, kind="server-error", probes=Probes(1, 90.0))
    found = explain(replace(STATE, cause=cause), names_topic=False)
    assert "It is probed next at 1970-01-01T00:01:30Z." in found.text
    assert found.text.endswith("It continues when a probe succeeds, or at once after a resume.")
    assert found.commands == ("webhooks subscriptions resume 'a b'",)


def test_a_retrying_subscription_says_when_it_tries_again() -> None:
    error = FailedAttempt("the callback answered 503", 50.0, 503)
    lane = LaneSummary("orders", 0, "retrying", "w:1", 9, error=error)
    found = explain(
        replace(STATE, state="retrying", cause=None, error=error, attempts=1, next_try_at=70.0, lanes=(lane,)),
        names_topic=False,
    )
    assert found.text.startswith(
        "a b is retrying its next event in partition 0, because the callback answered 503 (receiver "
        "receiver.test:443). It has been failing since 1970-01-01T00:00:40Z (1 attempt). The next try is at "
        "1970-01-01T00:01:10Z. "
    )
    assert found.commands == ("webhooks attempts 'a b'",)


@pytest.mark.parametrize(
    ("kind", "verbs"),
    [
        ("gone", ["resume", "delete"]),
        ("configuration", ["get", "apply"]),
        ("token", ["resume"]),
        ("token-unavailable", ["resume"]),
        ("a kind of a later version", ["resume"]),
    ],
)
def test_the_advice_depends_on_the_kind_of_failure(kind: str, verbs: list[str]) -> None:
    found = explain(replace(STATE, cause=replace(CAUSE, kind=kind)), names_topic=False)
    assert [each.split()[2] for each in found.commands] == verbs


@pytest.mark.parametrize(
    ("state", "text", "commands"),
    [
        ("broken", "can't be used: url: is wrong. ", ["get", "apply"]),
        ("unowned", "has no worker", ["webhooks check"]),
        ("behind", "is behind", ["webhooks attempts"]),
        ("paused", "is paused by its publisher. ", ["resume"]),
        ("stopped", "is stopped by its consumer. ", ["start"]),
        ("closed", "is closed. ", ["get", "apply"]),
        ("live", "is live. ", []),
    ],
)
def test_every_state_has_an_explanation(state: State, text: str, commands: list[str]) -> None:
    problem = "url: is wrong" if state == "broken" else None
    count = 3 if state == "behind" else 0
    plain = SubscriptionState("s", state, 7, "receiver.test:443", "auto", waiting_at_most=count, problem=problem)
    found = explain(plain, names_topic=False)
    assert found.text.startswith(f"s {text}")
    assert len(found.commands) == len(commands)
    assert all(part in each for part, each in zip(commands, found.commands, strict=True))


def test_a_paused_subscription_still_shows_its_failure() -> None:
    found = explain(replace(STATE, state="paused", cause=None, failing_since=None, attempts=0), names_topic=False)
    assert found.text.startswith("a b is paused by its publisher. 1,204 events are waiting")
    assert "It is also in FAILURE: the callback answered 400." in found.text


def test_credentials_that_a_receiver_repeats_are_not_shown() -> None:
    cause = replace(CAUSE, message="can't reach https://me:hidden@receiver.test")
    assert "hidden" not in explain(replace(STATE, cause=cause), names_topic=False).text


def test_without_a_worker_starting_workers_comes_first() -> None:
    cause = replace(CAUSE, kind="server-error", probes=Probes(1, 90.0))
    found = explain(replace(STATE, cause=cause, lacks_worker=True), names_topic=False)
    assert found.text.startswith(
        "a b failed in a partition that no worker owns, so nothing is sent or probed: start workers. a b is in "
    )
    assert "It is probed next" not in found.text
    assert found.text.endswith(" Once workers run, it continues when a probe succeeds, or at once after a resume.")
    assert found.commands == ("webhooks check", "webhooks subscriptions resume 'a b'")


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        (Guard().verdict("10.1.2.3"), "correct the callback URL, or allow the network"),
        ("the host of no.example:1 can't be resolved: Domain name not found", "Check the name in the callback URL"),
        ("the certificate of r.test:443 is not trusted: self-signed certificate", "Check the receiver's certificate"),
        ("the TLS handshake with r.test:443 failed: wrong version number", "Check the scheme and the port"),
    ],
)
def test_the_advice_fits_an_address_that_never_answers(message: str, advice: str) -> None:
    error = FailedAttempt(message, 50.0)
    retrying = explain(replace(STATE, state="retrying", cause=None, error=error), names_topic=False)
    assert advice in retrying.text
    assert "without your help" not in retrying.text
    failed = explain(replace(STATE, cause=replace(CAUSE, kind="exception", message=message)), names_topic=False)
    assert advice in failed.text
    assert failed.text.endswith(" Afterwards, resume.")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("exception", f"connection refused by r.test:443; fd00::1 is in the private network fc00::/7; {OPENS}"),
        ("exception", f"token endpoint unavailable: 10.0.0.5 is in the private network 10.0.0.0/8; {OPENS}"),
        ("token-unavailable", f"the token endpoint answered 503: x; {OPENS}"),
        ("token", f"the token endpoint answered 400: {OTHER_KEYS}"),
        ("handshake", f"the receiver permits only {OTHER_KEYS}"),
    ],
)
def test_quoted_text_of_a_receiver_does_not_change_the_advice(kind: CauseKind, message: str) -> None:
    found = explain(replace(STATE, cause=replace(CAUSE, kind=kind, message=message)), names_topic=False)
    advice = found.text.partition(f"(kind {kind}")[2]
    assert "WEBHOOKS_" not in advice
    assert "callback URL" not in advice


def test_the_advice_also_fits_several_refused_addresses() -> None:
    message = "; ".join(str(Guard().verdict(address)) for address in ("10.1.2.3", "fd00::1"))
    found = explain(replace(STATE, cause=replace(CAUSE, kind="exception", message=message)), names_topic=False)
    assert "correct the callback URL, or allow the network" in found.text


def test_an_unreachable_proxy_is_not_blamed_on_the_callback_url() -> None:
    error = FailedAttempt("the host of the proxy can't be resolved: Domain name not found", 50.0)
    found = explain(replace(STATE, state="retrying", cause=None, error=error), names_topic=False)
    assert "callback URL" not in found.text


def test_a_lane_that_has_caught_up_needs_nothing() -> None:
    lane = LaneSummary("orders", 1, "behind", "w:1", 9, 0, 0)
    found = explain(SubscriptionState("s", "behind", 7, "r.test:443", "auto", lanes=(lane,)), names_topic=False)
    assert found.text == "s has caught up in partition 1. No events are waiting. There is nothing to do."
    assert found.commands == ()


def test_a_missing_key_is_named_before_an_edit() -> None:
    box = SecretBox([Fernet.generate_key().decode()])
    with pytest.raises(ConfigurationError) as problem:
        SecretBox([Fernet.generate_key().decode()]).decrypt(box.encrypt(b"x", b"c"), b"c")
    plain = SubscriptionState("s", "broken", 7, "r.test:443", "auto", problem=str(problem.value))
    found = explain(plain, names_topic=False)
    assert "Set WEBHOOKS_SECRET_KEYS to the keys that the workers have" in found.text
    assert found.commands == ()


def test_a_receiver_that_rejects_everything_is_not_well() -> None:
    run = DeadLetterRun(3, 40.0, 60.0, "the callback answered 401")
    state = SubscriptionState("rejects", "live", 7, "r.test:443", "auto", dead_letter_run=run)
    found = explain(state, names_topic=False)
    assert found.text == (
        "rejects is live. No events are waiting. Its last 3 events were dead-lettered (the last one at "
        "1970-01-01T00:01:00Z: the callback answered 401). See `webhooks dlq list --subscription rejects`. "
        "Change the receiver or the "
        "subscription so that it accepts the events, then redrive the dead letters."
    )
    assert found.commands == ("webhooks dlq list --subscription rejects",)
    one = explain(replace(state, dead_letter_run=replace(run, count=1)), names_topic=False)
    assert "Its last event was dead-lettered (at 1970-01-01T00:01:00Z: the callback answered 401)." in one.text
