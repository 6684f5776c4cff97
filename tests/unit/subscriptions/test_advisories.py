"""Warnings about subscriptions that work."""

from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import jwt
import pytest

from pipeline.config.definition import Definition
from pipeline.core.subscription import DesiredStatus, OAuth2Auth, Routing, Subscription, TlsOptions, TokenAuth
from pipeline.http.ssrf_guard import Guard
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.topics import Source
from pipeline.subscriptions.advisories import advisory, breadth, idleness, period, refusal

NOW = 1_800_000_000.0
SECURE = Subscription(id="s", revision=0, url="https://receiver.example/hook")
TRUST_ALL = TlsOptions(trust_all=True)


def test_a_verified_receiver_needs_no_advisory() -> None:
    assert advisory(SECURE, NOW) is None


@pytest.mark.parametrize(
    ("tls", "word"),
    [(TRUST_ALL, "ssl.trustAll"), (TlsOptions(verify_hostname=False), "ssl.hostnameVerifier")],
)
def test_tls_without_verification_causes_a_warning(tls: TlsOptions, word: str) -> None:
    assert word in (advisory(replace(SECURE, tls=tls), NOW) or "")


def test_without_tls_no_certificate_is_checked() -> None:
    assert advisory(replace(SECURE, url="http://receiver.example", tls=TRUST_ALL), NOW) is None


def test_the_warning_includes_token_endpoints() -> None:
    auth = OAuth2Auth("https://id.example/token", "id", "hidden")
    said = advisory(replace(SECURE, url="http://receiver.example", tls=TRUST_ALL, auth=auth), NOW)
    assert "ssl.trustAll" in (said or "")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"starting_at": NOW + 60}, "delivers nothing before its startingAt, 2027-01-15T08:01:00Z"),
        ({"ending_at": NOW - 60}, "is closed since its endingAt, 2027-01-15T07:59:00Z"),
        ({"starting_at": NOW - 60, "ending_at": NOW + 60}, None),
        ({"starting_at": NOW + 60, "desired_status": DesiredStatus.PAUSED}, None),
        ({}, None),
    ],
)
def test_a_subscription_outside_of_its_period_causes_a_warning(changes: dict[str, Any], said: str | None) -> None:
    assert period(replace(SECURE, **changes), NOW) == said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"starting_at": NOW + 60},
            (
                "delivers nothing before its startingAt, 2027-01-15T08:01:00Z; "
                "to begin earlier, apply it with an earlier startingAt"
            ),
        ),
        (
            {"ending_at": NOW - 60, "desired_status": DesiredStatus.PAUSED},
            (
                "is closed since its endingAt, 2027-01-15T07:59:00Z; "
                "to open it again, apply it with a later endingAt, or without one"
            ),
        ),
        (
            {"starting_at": NOW + 60, "desired_status": DesiredStatus.PAUSED},
            "is paused by its publisher: nothing is sent until it is resumed",
        ),
        (
            {"desired_status": DesiredStatus.STOPPED},
            "is stopped by its consumer: nothing is sent until it is started",
        ),
        (
            {"ending_at": NOW - 60, "desired_status": DesiredStatus.PAUSED, "problem": "the record is not JSON"},
            "can't be used: the record is not JSON",
        ),
        ({"problem": "the record is not JSON"}, "can't be used: the record is not JSON"),
        ({"starting_at": NOW - 60, "ending_at": NOW + 60}, None),
        ({}, None),
    ],
)
def test_what_ends_the_idleness_of_a_subscription_is_said(changes: dict[str, Any], said: str | None) -> None:
    assert idleness(replace(SECURE, **changes), NOW) == said


def test_several_advisories_are_in_one_line() -> None:
    said = advisory(
        replace(SECURE, tls=TRUST_ALL, auth=TokenAuth(jwt.encode({"exp": NOW - 1}, "k" * 32, algorithm="HS256"))), NOW
    )
    assert "expired" in (said or "")
    assert "ssl.trustAll" in (said or "")


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("http://10.1.2.3:8080/hook", "its callbacks will be refused: 10.1.2.3 is in the private network 10.0.0.0/8; "),
        ("http://[::1]/", "WEBHOOKS_ALLOW_PRIVATE_NETWORKS can allow it"),
        ("http://localhost:9000/", "localhost is a loopback name"),
    ],
)
def test_a_callback_that_the_guard_will_refuse_causes_a_warning(url: str, word: str) -> None:
    assert word in (refusal(replace(SECURE, url=url), Guard()) or "")
    assert refusal(replace(SECURE, url=url), Guard([ip_network("0.0.0.0/0"), ip_network("::/0")])) is None
    assert refusal(SECURE, Guard()) is None
    assert refusal(replace(SECURE, url="http://[bad"), Guard()) is None


def test_a_subscription_without_filter_and_topics_is_pointed_out() -> None:
    match = Definition("shop", Source(KafkaConnection(("k:9092",)), "orders"), stated_routing=Routing.MATCH)
    assert breadth(SECURE, match) == "gets every event of orders"
    assert breadth(replace(SECURE, topics=frozenset({"orders"})), match) is None
    assert breadth(replace(SECURE, filter=lambda _: True), match) is None
    assert breadth(replace(SECURE, problem="unreadable"), match) is None
    assert breadth(SECURE, replace(match, stated_routing=Routing.KEY)) is None
