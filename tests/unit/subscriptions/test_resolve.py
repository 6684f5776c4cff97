"""Documents become values of the delivery path."""

import base64
import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.definition import Definition
from pipeline.config.keystores.opening import OpenHere
from pipeline.core.errors import ConfigurationError
from pipeline.core.model import Status
from pipeline.core.subscription import (
    BasicAuth,
    DesiredStatus,
    Header,
    HttpLimits,
    Interrupt,
    Jitter,
    NoAuth,
    OAuth2Auth,
    Proxy,
    Qos,
    Rate,
    ReplayOffset,
    ReplayTimestamp,
    ResumeFrom,
    RetryPolicy,
    RetryStrategy,
    Routing,
    Skip,
    Subscription,
    TlsOptions,
    TokenAuth,
)
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.topics import Source
from pipeline.subscriptions.envelope import parse_stored, parse_subscription
from pipeline.subscriptions.resolve import broken, check_limits, to_subscription

NOW = 1_767_225_600.0  # 2026-01-01T00:00:00Z
DEFINITION = Definition(
    name="orders",
    source=Source(KafkaConnection(("k:9092",)), "events"),
    stated_routing=Routing.KEY,
    qos=Qos.AT_LEAST_ONCE,
    interrupt=Interrupt(on_gone=True),
    http=HttpLimits(3.0, 10.0, 60.0),
    max_concurrent_connections=5,
    proxy=Proxy("http://proxy:3128"),
)
MATCH = replace(DEFINITION, stated_routing=Routing.MATCH)
PEM = trustme.CA().cert_pem.bytes().decode()
SIGNING = "whsec_" + base64.b64encode(b"k" * 24).decode()


def made(more: dict[str, Any] | None = None, **options: Any) -> Subscription:
    document = {"id": "s", "configuration": {"callbackUrl": "https://example.com", **options}, **(more or {})}
    return to_subscription(parse_subscription(document), DEFINITION, 7, OpenHere())


def problem(**options: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        made(**options)
    return str(caught.value)


def test_unset_fields_get_the_entrypoint_s_values() -> None:
    assert made() == Subscription(
        id="s",
        revision=7,
        created=7,
        url="https://example.com",
        qos=Qos.AT_LEAST_ONCE,
        proxy=Proxy("http://proxy:3128"),
        retry=RetryPolicy(enabled=True, strategy=RetryStrategy.EXPONENTIAL, max_attempts=3),
        interrupt=Interrupt(on_gone=True),
        http=HttpLimits(3.0, 10.0, 60.0),
        concurrency=1,
    )


@pytest.mark.parametrize(
    ("qos", "asked", "concurrency"),
    [("auto", None, 5), ("auto", 3, 3), ("none", 9, 5), ("at-most-once", 3, 1), ("at-least-once", None, 1)],
)
def test_ordered_levels_have_concurrency_1_and_others_the_limit(qos: str, asked: int | None, concurrency: int) -> None:
    found = made({"qos": qos}, http={"maxConcurrentConnections": asked})
    assert (found.qos, found.concurrency) == (Qos(qos), concurrency)


def test_a_subscription_can_only_lower_timeouts() -> None:
    found = made(http={"readTimeout": 500, "connectTimeout": 9_000})
    assert found.http == HttpLimits(3.0, 0.5, 60.0)


def test_a_limit_above_that_of_the_entrypoint_is_refused() -> None:
    document = {"id": "s", "configuration": {"callbackUrl": "https://e.example", "http": {"readTimeout": 10_001}}}
    with pytest.raises(ConfigurationError, match=r"http.readTimeout: 10001 is more than .*; allowed: 1 to 10000$"):
        check_limits(parse_subscription(document), DEFINITION)
    document["configuration"]["http"] = {"readTimeout": 10_000, "maxConcurrentConnections": 5}  # type: ignore[index]  # a plain document
    check_limits(parse_subscription(document), DEFINITION)


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        (None, NoAuth()),
        ({}, NoAuth()),
        ({"type": "none"}, NoAuth()),
        ({"type": "basic", "basic": {"username": "u", "password": "p"}}, BasicAuth("u", "p")),
        ({"type": "token", "token": {"value": "t"}}, TokenAuth("t")),
        (
            {
                "type": "oauth2",
                "oauth2": {
                    "endpoint": "https://auth.example",
                    "clientId": "c",
                    "clientSecret": "s",
                    "scopes": ["a", "b"],
                    "clientAuthMethod": "client_secret_basic",
                },
            },
            OAuth2Auth("https://auth.example", "c", "s", ("a", "b"), "client_secret_basic"),
        ),
    ],
)
def test_each_kind_of_auth_is_resolved(auth: Any, expected: object) -> None:
    assert made(auth=auth).auth == expected


def test_credentials_that_can_t_be_a_header_value_are_refused() -> None:
    text = problem(auth={"type": "token", "token": {"value": "hunter 2"}})
    assert text.startswith("configuration.entrypointConfiguration.auth.token.value: must be ASCII without spaces")
    assert "hunter" not in text
    assert "control characters" in problem(auth={"type": "basic", "basic": {"username": "u", "password": "a\nb"}})


@pytest.mark.parametrize("qos", ["auto", "at-most-once", "at-least-once"])
def test_retries_can_be_disabled_and_are_always_off_at_qos_none(qos: str) -> None:
    assert made({"qos": qos}).retry.enabled
    assert not made({"qos": qos}, retry={"retryOption": "No Retry"}).retry.enabled
    assert not made({"qos": "none"}, retry={"retryOption": "Retry On Fail"}).retry.enabled


def test_delays_of_retries_are_in_seconds() -> None:
    retry = {"retryStrategy": "LINEAR", "maxAttempts": 5, "initialDelaySeconds": 1, "maxDelaySeconds": 2}
    assert made(retry=retry).retry == RetryPolicy(True, RetryStrategy.LINEAR, 5, 1.0, 2.0)  # noqa: FBT003  # a value


def test_other_options_of_retries_are_resolved() -> None:
    assert made().retry.jitter is Jitter.AROUND
    assert made(retry={"jitter": "FULL"}).retry == RetryPolicy(jitter=Jitter.FULL)
    assert made(retry={"jitter": "NONE"}).retry == RetryPolicy(jitter=Jitter.NONE)
    assert made(retry={"maxElapsedSeconds": 3600}).retry == RetryPolicy(max_elapsed_seconds=3600.0)
    assert made(retry={"statusCodes": []}).retry.statuses == frozenset()
    assert made(retry={"statusCodes": [404, "5xx", 503]}).retry.statuses == {404, *range(500, 600)}
    assert made(retry={"statusCodes": None}).retry.statuses == {408, 425, 429, *range(500, 600)}


def test_a_rate_is_events_per_second_and_a_burst() -> None:
    assert made().rate is None
    assert made(rate={"eventsPerSecond": 10}).rate == Rate(10.0, 1)
    assert made(rate={"eventsPerSecond": 0.5, "burst": 20}).rate == Rate(0.5, 20)


def test_headers_are_limited_in_number_and_length() -> None:
    many = [{"name": f"h{number}", "value": "v"} for number in range(101)]
    long = [{"name": "long", "value": "v" * 16_380}]
    assert len(made(headers=many[:100]).headers) == 100
    assert len(made(headers=long).headers) == 1
    for headers, told in ((many, "101 headers with 395 characters"), ([*long, many[0]], "2 headers with 16387 char")):
        with pytest.raises(ConfigurationError, match=rf"\.headers: contains {told}.*; allowed: 100 headers with 16384"):
            made(headers=headers)


def test_headers_and_signing_secrets_are_resolved() -> None:
    found = made(headers=[{"name": "X-Team", "value": "a"}], signing={"secrets": [SIGNING]})
    assert found.headers == (Header("X-Team", "a"),)
    assert found.signing_secrets == (SIGNING,)
    assert SIGNING not in repr(found)


@pytest.mark.parametrize("secret", ["hunter2", "whsec_", "whsec_aHVudGVyMg==", "whsec_***", "whsec_" + "A" * 100])
def test_a_signing_secret_must_have_the_standard_format(secret: str) -> None:
    text = problem(signing={"secrets": [SIGNING, secret]})
    assert text.startswith("configuration.entrypointConfiguration.signing.secrets[1]: ")
    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("states", "desired"),
    [
        ({}, DesiredStatus.DELIVER),
        ({"status": "PAUSED"}, DesiredStatus.PAUSED),
        ({"status": "PAUSED", "consumerStatus": "STOPPED"}, DesiredStatus.PAUSED),
        ({"consumerStatus": "STOPPED"}, DesiredStatus.STOPPED),
        ({"status": "CLOSED", "consumerStatus": "STOPPED"}, DesiredStatus.CLOSED),
    ],
)
def test_the_desired_status_comes_from_publisher_and_consumer(states: dict[str, Any], desired: DesiredStatus) -> None:
    assert made(states).desired_status is desired


@pytest.mark.parametrize(
    ("ending_at", "status"), [("2026-01-01T00:00:00Z", Status.CLOSED), ("2026-01-01T00:00:01Z", Status.STARTED)]
)
def test_a_subscription_is_closed_when_its_end_has_come(ending_at: str, status: Status) -> None:
    assert made({"endingAt": ending_at}).status_at(NOW) is status


def test_times_are_unix_seconds() -> None:
    found = made({"startingAt": "2026-01-01T02:00:00+02:00", "endingAt": "2026-01-01T00:00:01.5Z"})
    assert (found.starting_at, found.ending_at) == (NOW, NOW + 1.5)


@pytest.mark.parametrize(
    ("resume", "expected"),
    [
        (None, None),
        ({"skip": {"partition": 1, "offset": 41}}, Skip(1, 41)),
        ({"partition": 1, "offset": 0}, ReplayOffset(1, 0)),
        ({"timestamp": "2026-01-01T00:00:00.250Z"}, ReplayTimestamp(1_767_225_600_250)),
    ],
)
def test_each_form_of_resumefrom_becomes_a_command(resume: Any, expected: ResumeFrom | None) -> None:
    assert made({"resumeFrom": resume}).resume_from == expected


def test_a_broken_subscription_says_what_is_wrong() -> None:
    found = broken("s", DEFINITION, 3, "the record is not JSON", {})
    assert (found.id, found.revision, found.problem) == ("s", 3, "the record is not JSON")


START = {"events": {"topicId": "a-topic", "offsets": [3, 0]}}


def stored(definition: Definition, **more: object) -> Subscription:
    document = {"id": "s", "configuration": {"callbackUrl": "https://example.com"}, **more}
    return to_subscription(parse_stored(document), definition, 7, OpenHere())


def test_the_start_and_the_topics_come_from_the_record() -> None:
    found = stored(MATCH, start=START, createdRevision=4, topics=["events", "events"])
    assert (found.revision, found.created, found.topics) == (7, 4, frozenset({"events"}))
    assert [found.start_in("events", partition, "a-topic") for partition in (0, 1, 2)] == [3, 0, 0]
    assert found.start_in("events", 0, "another-topic") == 0


@pytest.mark.parametrize(
    ("more", "topic"),
    [
        ({"start": START}, "events"),
        ({"start": START | {"others": {"offsets": [1]}}}, ""),
        ({}, ""),
    ],
)
def test_a_command_without_a_topic_is_for_the_first_topic(more: dict[str, Any], topic: str) -> None:
    """If the topic is unknown, the command applies to no topic: it was carried out long ago."""
    several = replace(MATCH, source=replace(MATCH.source, others=("others",)))
    skip = {"skip": {"partition": 1, "offset": 41}}
    assert stored(MATCH, resumeFrom=skip, **more).resume_from == Skip(1, 41)
    assert stored(several, resumeFrom=skip, **more).resume_from == Skip(1, 41, topic)
    assert stored(several, resumeFrom={"topic": "others", "partition": 1, "offset": 0}, **more).resume_from == (
        ReplayOffset(1, 0, topic="others")
    )


def test_equal_starts_share_one_object() -> None:
    one, other = (stored(MATCH, start=START).starts or {} for _ in range(2))
    assert one["events"].offsets is other["events"].offsets


def test_the_first_record_of_a_subscription_is_its_creation() -> None:
    found = stored(MATCH)
    assert (found.created, found.starts, found.topics) == (7, None, None)
    assert stored(MATCH, createdRevision=9).created == 7


def test_with_key_the_fields_of_match_have_no_effect() -> None:
    found = stored(DEFINITION, start=START, topics=["events"])
    assert (found.starts, found.topics) == (None, None)


def test_a_broken_subscription_keeps_its_metadata() -> None:
    tenant = {"tenant": "acme"}
    assert made({"metadata": tenant}).metadata == tenant
    assert made().metadata == {}
    assert broken("s", DEFINITION, 3, "unreadable", {"metadata": tenant}).metadata == tenant
    assert broken("s", DEFINITION, 3, "unreadable", {"metadata": {"tenant": 1}}).metadata == {}


def test_a_broken_subscription_keeps_its_start() -> None:
    found = broken("s", MATCH, 7, "unreadable", {"start": START, "createdRevision": 4})
    assert (found.created, found.start_in("events", 0, "a-topic")) == (4, 3)
    found = broken("s", MATCH, 7, "unreadable", {"start": {"events": {"offsets": ["3"]}}, "createdRevision": True})
    assert (found.created, found.starts) == (7, None)


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


def test_pem_stores_become_tls_options(ca: trustme.CA) -> None:
    leaf = ca.issue_cert("client.example")
    authority = ca.cert_pem.bytes().decode()
    key_store = {
        "type": "PEM",
        "certContent": leaf.cert_chain_pems[0].bytes().decode(),
        "keyContent": leaf.private_key_pem.bytes().decode(),
    }
    trust_store = {"type": "PEM", "content": authority}
    found = made(ssl={"hostnameVerifier": False, "trustStore": trust_store, "keyStore": key_store}).tls
    assert (found.verify_hostname, found.trust_all, found.trusted_pem) == (False, False, authority)
    assert found.client_certificate_pem == key_store["certContent"]
    assert found.client_key_pem is not None
    assert "PRIVATE KEY" in found.client_key_pem
    assert "PRIVATE KEY" not in repr(found)


def test_pkcs12_stores_become_pem(ca: trustme.CA) -> None:
    leaf = ca.issue_cert("client.example")
    certificate = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes())
    key = serialization.load_pem_private_key(leaf.private_key_pem.bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    encryption = serialization.BestAvailableEncryption(b"changeit")
    store = pkcs12.serialize_key_and_certificates(b"Me", key, certificate, None, encryption)
    block: dict[str, Any] = {"type": "PKCS12", "content": base64.b64encode(store).decode(), "password": "changeit"}
    found = made(ssl={"trustStore": block, "keyStore": {**block, "alias": "me"}}).tls
    assert found.trusted_pem == found.client_certificate_pem == leaf.cert_chain_pems[0].bytes().decode()
    path = "configuration.entrypointConfiguration.ssl.keyStore.content"
    assert problem(ssl={"keyStore": {**block, "alias": "you"}}) == (
        f'{path}: contains no key with the alias "you"; its keys: "Me"'
    )
    wrong = copy.deepcopy(block) | {"password": "hunter2"}
    assert problem(ssl={"keyStore": wrong}) == f"{path}: is not a PKCS12 store, or its password is wrong"
    assert problem(ssl={"keyStore": {**block, "content": "%"}}) == f"{path}: is not base64"


@pytest.mark.parametrize(
    ("ssl", "sentence"),
    [
        ({"trustStore": {"type": "PEM"}}, "ssl.trustStore.content: is required for this type of store"),
        ({"trustStore": {"type": "PKCS12", "content": "AA=="}}, "ssl.trustStore.password: is required for this type"),
        ({"trustStore": {"type": "PEM", "content": "x"}}, "ssl.trustStore.content: contains no readable PEM"),
        ({"keyStore": {"type": "PEM", "certContent": PEM}}, "ssl.keyStore.keyContent: is required for this type"),
        ({"trustStore": {"type": "JKS", "content": "AA==", "password": "p"}}, "ssl.trustStore.content: is not a JKS"),
        ({"trustStore": {"type": "JKS", "content": "AA=="}}, "ssl.trustStore.password: is required for this type"),
        (
            {"trustStore": {"type": "PEM", "path": "/x"}},
            "ssl.trustStore.path: names a file, but WEBHOOKS_KEY_STORE_DIR",
        ),
        (
            {"trustStore": {"type": "PEM", "path": "/x", "content": PEM}},
            "ssl.trustStore.path: can't be set together with content",
        ),
        ({"keyStore": {"type": "PEM", "certPath": "/etc/passwd"}}, "ssl.keyStore.certPath: names a file, but"),
        ({"keyStore": {"type": "PKCS12", "path": "/etc/passwd"}}, "ssl.keyStore.path: names a file, but"),
    ],
)
def test_an_unreadable_store_is_reported(ssl: dict[str, Any], sentence: str) -> None:
    assert problem(ssl=ssl).startswith(f"configuration.entrypointConfiguration.{sentence}")


def test_empty_stores_are_ignored() -> None:
    assert made(ssl={"trustStore": {"type": ""}, "keyStore": {"type": "NONE"}}).tls == TlsOptions()


@given(
    place=st.sampled_from(
        [
            ("auth", {"type": "token", "token": {"value": ...}}),
            ("auth", {"type": "basic", "basic": {"username": "u", "password": ...}}),
            ("signing", {"secrets": [...]}),
            ("ssl", {"trustStore": {"type": "PEM", "content": ...}}),
            ("ssl", {"trustStore": {"type": "PKCS12", "content": ..., "password": "p"}}),
            ("ssl", {"trustStore": {"type": "PKCS12", "content": "AA==", "password": ...}}),
            ("ssl", {"keyStore": {"type": "PKCS12", "content": ...}}),
            ("ssl", {"keyStore": {"type": "PEM", "certContent": ..., "keyContent": "x"}}),
        ]
    ),
    secret=st.text(min_size=1, max_size=40) | st.binary(min_size=1).map(lambda data: base64.b64encode(data).decode()),
)
def test_any_secret_is_used_or_refused_with_an_error(place: tuple[str, Any], secret: str) -> None:
    name, block = place
    try:
        made(**{name: filled(block, secret)})
        sentences = []
    except ConfigurationError as error:
        sentences = error.problems
    assert [each for each in sentences if not each.startswith("configuration.")] == []


def filled(block: Any, secret: str) -> Any:
    """*block* with the secret."""
    if isinstance(block, dict):
        return {key: filled(value, secret) for key, value in block.items()}
    if isinstance(block, list):
        return [filled(value, secret) for value in block]
    return secret if block is ... else block


STORES = Path(__file__).parents[2] / "keystores"
IN_STORES = replace(DEFINITION, key_store_dir=STORES)


@pytest.mark.parametrize("as_path", [True, False], ids=["path", "content"])
def test_java_key_stores_come_from_the_folder_or_subscription(as_path: bool) -> None:
    def store(name: str) -> dict[str, str]:
        content = base64.b64encode((STORES / name).read_bytes()).decode()
        return {"type": "JKS", "password": "store-secret", **({"path": name} if as_path else {"content": content})}

    ssl = {
        "trustStore": store("trust.jks"),
        "keyStore": {**store("keys.jks"), "alias": "signer", "keyPassword": "key-secret"},
    }
    document = {"id": "s", "configuration": {"callbackUrl": "https://example.com", "ssl": ssl}}
    tls = to_subscription(parse_subscription(document), IN_STORES, 7, OpenHere()).tls
    assert tls.trusted_pem is not None
    assert tls.client_certificate_pem == tls.trusted_pem, "the certificate of the same key"
    assert "PRIVATE KEY" in (tls.client_key_pem or "")
