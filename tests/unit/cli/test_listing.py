"""The table of subscriptions: its narrow form, and why each subscription does not deliver."""

from typing import Any

import pytest
from cryptography.fernet import Fernet

from pipeline.cli.listing import age, as_rows, as_wide_rows, of_other_keys, why
from pipeline.cluster.state import SubscriptionState
from pipeline.core.attempts import DeadLetterRun, FailedAttempt
from pipeline.core.errors import ConfigurationError
from pipeline.core.model import Cause
from pipeline.core.subscription import Routing
from pipeline.subscriptions.envelope import parse_subscription
from pipeline.subscriptions.secrets import SecretBox

NOW = 10_000.0
HOST = "receiver-with-a-long-name.example.com:8443"
SIGNED = {
    "id": "sub-1",
    "configuration": {
        "entrypointId": "webhook-advanced",
        "entrypointConfiguration": {
            "callbackUrl": "https://a.example/",
            "signing": {"secrets": ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]},
        },
    },
}
UUID = "0b0f7f62-8a4f-4b3e-9d8d-5c4f3e2d1c0b"


def state(name: str = "sub-1", kind: Any = "failure", **facts: Any) -> SubscriptionState:
    return SubscriptionState(name, kind, 7, facts.pop("host", HOST), "at-least-once", **facts)


def failed(message: str, name: str = "sub-1", **facts: Any) -> SubscriptionState:
    return state(name, cause=Cause("exception", message, 4, NOW), **facts)


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")


def test_a_failure_shows_its_cause_and_its_waiting_events() -> None:
    table = as_rows(
        [
            failed("connection refused by a:80", host="a:80", waiting=1_200, oldest_waiting_at=NOW - 7_300),
            state("sub-2", "live", host="b:80"),
            failed("the callback answered 503", "sub-3", host="c:80", waiting=None, waiting_at_most=9),
            failed("no answer", "sub-4", host="d:80", waiting=None, waiting_at_most=None),
            state(
                "sub-5", "live", host="e:80", dead_letter_run=DeadLetterRun(3, 1.0, 2.0, "the callback answered 401")
            ),
        ],
        NOW,
    )
    assert table.splitlines() == [
        "ID     STATE    WAITING  OLDEST  HOST  WHY",
        "sub-1  failure  1,200    2h      a:80  connection refused",
        "sub-2  live     0        -       b:80  -",
        "sub-3  failure  ≤9       -       c:80  answered 503",
        "sub-4  failure  ?        -       d:80  no answer",
        "sub-5  live     0        -       e:80  3 dead-lettered: answered 401",
    ]


@pytest.mark.parametrize("name", ["sub-1", UUID])
def test_the_table_fits_a_hundred_columns(name: str) -> None:
    message = "the certificate of the receiver is not trusted: unable to get local issuer certificate" * 2
    table = as_rows([failed(message, name, waiting=1_200_000, oldest_waiting_at=NOW - 90), state("s", "live")], NOW)
    assert max(map(len, table.splitlines())) == 100
    assert name in table
    assert as_rows([], NOW) == "ID  STATE  WAITING  OLDEST  HOST  WHY"


def test_wrong_secret_keys_are_reported_once_with_advice() -> None:
    box = SecretBox([Fernet.generate_key().decode()])
    with pytest.raises(ConfigurationError) as caught:
        box.decrypt_secrets(SecretBox([Fernet.generate_key().decode()]).encrypt_secrets(parse_subscription(SIGNED)))
    warning = of_other_keys([str(caught.value), str(caught.value), "has no host", None])
    assert warning is not None
    assert warning.startswith("WEBHOOKS_SECRET_KEYS: no key decrypts the secrets of 2 of these subscriptions")
    assert of_other_keys(["has no host", None]) is None


def test_the_wide_table_cuts_nothing() -> None:
    message = "x" * 200
    options = {"entrypointConfiguration": {"callbackUrl": "https://example.com/hook?key=1"}}
    document = {"id": "sub-1", "status": "ACCEPTED", "consumerStatus": "STARTED", "configuration": options}
    for routing, more in ((Routing.KEY, []), (Routing.MATCH, ["all", "now"])):
        header, row = as_wide_rows([failed(message)], [{**document, "startFrom": "now"}], routing, NOW).splitlines()
        assert row.split()[4:] == [HOST, message, "at-least-once", "7", "ACCEPTED", "STARTED", row.split()[10], *more]
        assert row.split()[10].startswith("https://example.com/hook")
        assert "key=1" not in row
        assert len(header.split()) == len(row.split())


@pytest.mark.parametrize(
    ("message", "short"),
    [
        (f"connection refused by {HOST}", "connection refused"),
        (f"no complete answer from {HOST} within 10 s", "no complete answer within 10 s"),
        ("the callback answered 404", "answered 404"),
        ("two\nlines", "two lines"),
    ],
)
def test_a_cause_is_shown_in_a_few_words(message: str, short: str) -> None:
    assert why(failed(message)) == short
    assert why(state(kind="retrying", error=FailedAttempt(message, NOW))) == short
    assert why(state(kind="broken", problem="no JSON")) == "no JSON"


def test_an_age_has_one_unit() -> None:
    assert [age(each) for each in (-1, 0, 59.9, 60, 7_199, 86_400 * 3)] == ["0s", "0s", "59s", "1m", "1h", "3d"]
