"""The wire models of subscriptions: the two envelopes, strict validation, mistakes as sentences."""

import copy
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import ConfigurationError
from pipeline.subscriptions.auth_schema import Auth
from pipeline.subscriptions.envelope import parse_stored, parse_subscription, to_document
from pipeline.subscriptions.schema import WireSubscription

FULL: dict[str, Any] = {
    "id": "sub-1",
    "configuration": {
        "entrypointId": "webhook-advanced",
        "channel": None,
        "entrypointConfiguration": {
            "callbackUrl": "https://example.com/hook",
            "headers": [{"name": "X-Team", "value": "a"}],
            "auth": {"type": "basic", "basic": {"username": "u", "password": "hunter2"}},
            "ssl": {"hostnameVerifier": True, "trustAll": False, "trustStore": {"type": ""}},
            "retry": {
                "retryOption": "Retry On Fail",
                "retryStrategy": "LINEAR",
                "maxAttempts": 3,
                "initialDelaySeconds": 10,
                "maxDelaySeconds": 30,
            },
            "signing": {"secrets": ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]},
            "http": {"readTimeout": 5000},
        },
    },
    "qos": "at-least-once",
    "topics": ["orders"],
    "startFrom": "2026-01-01T00:00:00Z",
    "metadata": {"feature": "x"},
    "startingAt": "2026-01-01T00:00:00Z",
    "endingAt": "2027-01-01T00:00:00+02:00",
    "status": "ACCEPTED",
    "consumerStatus": "STARTED",
    "resumeFrom": {"skip": {"partition": 0, "offset": 41}},
}
FLAT: dict[str, Any] = {
    "id": "sub-1",
    "configuration": {"entrypointId": "webhook-advanced", "callbackUrl": "https://example.com"},
}
OPTIONS = "configuration.entrypointConfiguration"


def options(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["configuration"]["entrypointConfiguration"]
    return found


def problems(document: object) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        parse_subscription(document)
    return caught.value.problems


def test_a_subscription_is_written_in_the_newer_envelope() -> None:
    written = to_document(parse_subscription(FULL))
    assert written["configuration"]["entrypointConfiguration"]["signing"] == options(FULL)["signing"]
    assert written["resumeFrom"] == FULL["resumeFrom"]
    assert parse_subscription(written) == parse_subscription(FULL)


def test_the_older_envelope_gives_the_same_subscription() -> None:
    nested = copy.deepcopy(FULL)
    flat = copy.deepcopy(FULL)
    flat["configuration"] |= flat["configuration"].pop("entrypointConfiguration")
    assert parse_subscription(flat) == parse_subscription(nested)


TO_BE_WRITTEN = 'resumeFrom.timestamp: "1769860800" is not an ISO 8601 time with a zone; write 2026-01-31T12:00:00Z'


def test_each_type_of_authentication_has_its_block() -> None:
    types = {*get_args(Auth.model_fields["type"].annotation)} - {"none"}

    assert types == {field.alias or name for name, field in Auth.model_fields.items()} - {"type"}


@pytest.mark.parametrize(
    "auth",
    [
        {"type": "basic", "basic": {"username": "username", "password": "a-very-secured-password"}},
        {"type": "token", "token": {"value": "eyJraWQiOiJk..."}},
        {
            "type": "oauth2",
            "oauth2": {
                "endpoint": "https://auth.gravitee.io/my-domain/oauth/token",
                "clientId": "a-client-id",
                "clientSecret": "a-client-secret",
                "scopes": ["roles"],
            },
        },
    ],
)
def test_the_documented_examples_are_read(auth: dict[str, Any]) -> None:
    document = copy.deepcopy(FLAT)
    document["configuration"]["auth"] = auth
    found = parse_subscription(document).configuration.entrypoint_configuration.auth
    assert found is not None
    assert found.type == auth["type"]


def test_unset_fields_are_written_with_their_defaults() -> None:
    written = to_document(parse_subscription(FLAT))
    assert written == {
        "id": "sub-1",
        "configuration": {
            "entrypointId": "webhook-advanced",
            "channel": None,
            "entrypointConfiguration": {"callbackUrl": "https://example.com"},
        },
        "qos": None,
        "metadata": None,
        "startingAt": None,
        "endingAt": None,
        "status": "ACCEPTED",
        "consumerStatus": "STARTED",
        "resumeFrom": None,
    }


def test_a_shown_document_can_be_applied_again() -> None:
    assert parse_subscription({**FULL, "revision": 7}) == parse_subscription(FULL)


START = {"orders": {"topicId": "a-topic", "offsets": [3, 0]}, "payments": {"offsets": []}}


def test_only_a_record_may_contain_the_start() -> None:
    document = {**FULL, "topics": ["orders"], "startFrom": "earliest", "start": START, "createdRevision": 4}
    written = to_document(parse_stored(document))
    assert (written["start"], written["createdRevision"]) == (START, 4)
    shown = {**document, "revision": 7, "routing": "match"}
    written = to_document(parse_subscription(shown))
    assert written["topics"] == ["orders"]
    assert written["startFrom"] == "earliest"
    assert not written.keys() & {"start", "createdRevision"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"start": {"orders": {"offsets": [0, -1]}}},
            "start.orders.offsets[1]: -1 is out of range; allowed: at least 0",
        ),
        ({"start": {"orders": {"offsets": [2**63 - 1]}}}, "start.orders.offsets[0]: 9223372036854775807 is out of"),
        ({"start": {"orders": {"offsets": ["1"]}}}, 'start.orders.offsets[0]: must be a whole number, not "1"'),
        ({"start": {"orders": [1]}}, "start.orders: must be an object, not a list"),
        ({"start": {"orders": {"offsets": [0] * 100_001}}}, "start.orders.offsets: "),
        ({"start": {str(number): {"offsets": []} for number in range(1001)}}, "start: "),
        ({"createdRevision": -1}, "createdRevision: -1 is out of range; allowed: 0 to"),
    ],
)
def test_an_unusable_start_is_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_stored({**FULL, **change})
    [problem] = caught.value.problems
    assert problem.startswith(sentence)


def test_no_repr_shows_a_secret() -> None:
    text = repr(parse_subscription(FULL))
    assert "hunter2" not in text
    assert "whsec_" not in text


@pytest.mark.parametrize(
    "resume",
    [{"skip": {"partition": 0, "offset": 41}}, {"partition": 0, "offset": 41}, {"timestamp": "2026-01-01T00:00:00Z"}],
)
def test_the_three_forms_of_resumefrom_are_read(resume: dict[str, Any]) -> None:
    assert to_document(parse_subscription({**FLAT, "resumeFrom": resume}))["resumeFrom"] == resume


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda d: d.pop("id"), "id: is required"),
        (lambda d: d.update(id=""), "id: must not be empty"),
        (lambda d: d.update(id=" x"), "id: must not contain control characters, or spaces at either end"),
        (lambda d: d.update(stauts="PAUSED"), "stauts: unknown field; did you mean status?"),
        (lambda d: d.update(status="PENDING"), 'status: "PENDING" is not allowed; allowed: ACCEPTED, PAUSED, CLOSED'),
        (
            lambda d: d.update(consumerStatus="FAILURE"),
            'consumerStatus: "FAILURE" is not allowed; allowed: STARTED, STOPPED',
        ),
        (lambda d: d.update(startingAt="2026-01-01T00:00:00"), 'startingAt: "2026-01-01T00:00:00" is not an ISO 8601'),
        (lambda d: d.update(endingAt="2025-01-01T00:00:00Z"), 'endingAt: "2025-01-01T00:00:00Z" is not after'),
        (lambda d: d.update(resumeFrom={}), 'resumeFrom: allowed: {"skip"'),
        (lambda d: d.update(resumeFrom={"partition": 1}), 'resumeFrom: allowed: {"skip"'),
        (lambda d: d["resumeFrom"].update(offset=1), 'resumeFrom: allowed: {"skip"'),
        (
            lambda d: d["resumeFrom"]["skip"].update(offset=-1),
            "resumeFrom.skip.offset: -1 is out of range; allowed: 0 to",
        ),
        (lambda d: d["configuration"].update(entrypointId="sse"), 'configuration.entrypointId: "sse" is not allowed'),
        (lambda d: options(d).pop("callbackUrl"), f"{OPTIONS}.callbackUrl: is required"),
        (lambda d: options(d).update(callbackURL="x"), f"{OPTIONS}.callbackURL: unknown field; did you mean callback"),
        (
            lambda d: options(d)["headers"].append({"name": "a b", "value": ""}),
            f'{OPTIONS}.headers[1].name: "a b" is not a header name',
        ),
        (
            lambda d: options(d)["headers"].append({"name": "A", "value": "a\r\nB: c"}),
            f"{OPTIONS}.headers[1].value: must not contain control characters",
        ),
        (
            lambda d: options(d)["headers"].append({"name": "A", "value": "€"}),
            f"{OPTIONS}.headers[1].value: must not contain characters outside ISO-8859-1",
        ),
        (
            lambda d: options(d)["auth"].update(type="jwtProfileOauth2", basic=None),
            f"{OPTIONS}.auth.jwtProfileOauth2: is required when type is jwtProfileOauth2",
        ),
        (
            lambda d: options(d)["auth"].update(type="token"),
            f"{OPTIONS}.auth.basic: is not used when type is token; remove it, or set type to basic",
        ),
        (lambda d: options(d)["auth"].update(basic=None), f"{OPTIONS}.auth.basic: is required when type is basic"),
        (lambda d: options(d).update(auth="Bearer hunter2"), f"{OPTIONS}.auth: must be an object, not a string"),
        (
            lambda d: options(d)["auth"]["basic"].update(username="a:b"),
            f"{OPTIONS}.auth.basic.username: must not contain a colon",
        ),
        (
            lambda d: options(d)["ssl"].update(trustStore={"type": "BKS", "content": "x"}),
            f'{OPTIONS}.ssl.trustStore.type: "BKS" is not allowed',
        ),
        (
            lambda d: options(d)["retry"].update(initialDelaySeconds=31),
            f"{OPTIONS}.retry.initialDelaySeconds: 31 is more than maxDelaySeconds, 30",
        ),
        (
            lambda d: options(d)["retry"].update(maxAttempts=0),
            f"{OPTIONS}.retry.maxAttempts: 0 is out of range; allowed: 1 to 10000",
        ),
        (
            lambda d: options(d)["retry"].update(retryOption="Never"),
            f'{OPTIONS}.retry.retryOption: "Never" is not allowed; allowed: Retry On Fail, No Retry',
        ),
        (
            lambda d: options(d)["retry"].update(statusCodes=[429, 200]),
            f"{OPTIONS}.retry.statusCodes[1]: 200 is not allowed; allowed: 300 to 599, and the classes",
        ),
        (
            lambda d: options(d).update(handshake={"origin": "https://e.example"}),
            f'{OPTIONS}.handshake.origin: "https://e.example" is not a DNS name, such as events.example.com: no scheme',
        ),
        (
            lambda d: options(d)["retry"].update(statusCodes=["2xx"]),
            f'{OPTIONS}.retry.statusCodes[0]: "2xx" is not allowed; allowed: 300 to 599, and the classes',
        ),
        (
            lambda d: options(d)["retry"].update(jitter="HALF"),
            f'{OPTIONS}.retry.jitter: "HALF" is not allowed; allowed: AROUND, FULL, NONE',
        ),
        (
            lambda d: options(d)["retry"].update(maxElapsedSeconds=0),
            f"{OPTIONS}.retry.maxElapsedSeconds: 0 is out of range; allowed: 1 to 604800",
        ),
        (
            lambda d: options(d).update(rate={"eventsPerSecond": 0}),
            f"{OPTIONS}.rate.eventsPerSecond: 0.0 is out of range; allowed: 0.001 to 1000000",
        ),
        (
            lambda d: options(d).update(rate={"eventsPerSecond": 1, "burst": 0}),
            f"{OPTIONS}.rate.burst: 0 is out of range; allowed: 1 to 1000000",
        ),
        (
            lambda d: d.update(startFrom="yesterday"),
            'startFrom: "yesterday" is not an ISO 8601 time with a zone; write 2',
        ),
        (
            lambda d: d.update(startFrom="1969-12-31T00:00:00Z"),
            'startFrom: "1969-12-31T00:00:00Z" is before 1970; also allowed: now, earliest, and group: ',
        ),
        (lambda d: d.update(startFrom="group:"), 'startFrom: "group:" is not an ISO 8601 time with a zone, such as '),
        (lambda d: d.update(endingAt="3d"), 'endingAt: "3d" is not an ISO 8601 time with a zone; write 2'),
        (lambda d: d.update(resumeFrom={"timestamp": "1769860800"}), TO_BE_WRITTEN),
        (lambda d: d.update(topics=[]), "topics: must not be empty"),
        (lambda d: options(d).update(filter={True: {}}), f"{OPTIONS}.filter: names must be strings, not true"),
        (lambda d: d.update(metadata={"[key]": 5}), 'metadata["[key]"]: must be a string, not 5'),
        (lambda d: options(d).update(rate={}), f"{OPTIONS}.rate.eventsPerSecond: is required"),
        (lambda d: options(d)["signing"].update(secrets=[]), f"{OPTIONS}.signing.secrets: must not be empty"),
        (
            lambda d: options(d)["http"].update(maxConcurrentConnections=21),
            f"{OPTIONS}.http.maxConcurrentConnections: 21 is out of range; allowed: 1 to 20",
        ),
    ],
)
def test_an_error_names_path_value_and_what_is_allowed(change: Any, sentence: str) -> None:
    document = copy.deepcopy(FULL)
    change(document)
    found = problems(document)
    assert len(found) == 1
    assert found[0].startswith(sentence)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "must not be empty"),
        ("ftp://example.com", "must begin with http:// or https://"),
        ("example.com", "must begin with http:// or https://"),
        ("https://", "must name a host"),
        ("https://:443/x", "must name a host"),
        ("https://example.com:0/", "must name a host, and optionally a port from 1 to 65535"),
        ("https://example.com:70000/", "is not a URL: its host or port can't be read"),
        ("https://[::1/", "is not a URL: its host or port can't be read"),
        ("https://u:hunter2@example.com/", "must not contain a user name or password; put credentials into auth"),
        ("https://u@example.com/", "must not contain a user name or password; put credentials into auth"),
        ("https://example.com/a b", "must not contain spaces"),
        ("https://example.com/\r\nX: y", "must not contain spaces, backslashes or control characters"),
        ("https://good.example\\@evil.example/", "must not contain spaces, backslashes or control characters"),
        ("https://example.com/{#subscription.id}", "contains an expression"),
    ],
)
def test_an_unusable_callback_url_is_refused_and_not_shown(url: str, sentence: str) -> None:
    document = copy.deepcopy(FLAT)
    document["configuration"]["callbackUrl"] = url
    found = problems(document)
    assert found[0].startswith(f"configuration.callbackUrl: {sentence}")
    assert "hunter2" not in found[0]


@pytest.mark.parametrize("url", ["http://a", "https://a.example:8443/x?y=z", "http://[::1]:80/", "http://127.0.0.1"])
def test_valid_callback_urls_are_accepted(url: str) -> None:
    document = copy.deepcopy(FLAT)
    document["configuration"]["callbackUrl"] = url
    assert parse_subscription(document).configuration.entrypoint_configuration.callback_url == url


def test_errors_do_not_repeat_secrets_of_a_wrong_type() -> None:
    document = copy.deepcopy(FULL)
    options(document)["auth"]["basic"]["password"] = 777123
    options(document)["signing"]["secrets"] = [777123]
    options(document)["headers"][0]["value"] = 777123
    text = "\n".join(problems(document))
    assert text.count("must be a string, not a number") == 3
    assert "777123" not in text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


def places(node: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path, *(place for key, child in children for place in places(child, (*path, key)))]


PLACES = [place for place in places(FULL) if place]


def outcome(document: object) -> tuple[WireSubscription | None, list[str]]:
    try:
        return parse_subscription(document), []
    except ConfigurationError as error:
        return None, error.problems


@given(place=st.sampled_from(PLACES), value=json_values)
def test_any_document_is_a_subscription_or_has_errors_with_paths(place: tuple[Any, ...], value: object) -> None:
    document = copy.deepcopy(FULL)
    node: Any = document
    for step in place[:-1]:
        node = node[step]
    node[place[-1]] = value
    found, sentences = outcome(document)
    assert (found is None) == bool(sentences)
    assert [each for each in sentences if ": " not in each or each.startswith(":")] == []
    if found is not None:
        assert parse_subscription(to_document(found)) == found


@given(json_values)
def test_any_json_value_is_a_subscription_or_has_errors(document: object) -> None:
    found, sentences = outcome(document)
    assert (found is None) == bool(sentences)


def test_a_misspelled_envelope_causes_no_further_errors() -> None:
    document = {"id": "s", "configuration": {"entrypointConfig": {"callbackUrl": "https://example.com"}}}
    with pytest.raises(ConfigurationError) as caught:
        parse_subscription(document)
    assert caught.value.problems == [
        "configuration.entrypointConfiguration: is required",
        "configuration.entrypointConfig: unknown field; did you mean entrypointConfiguration?",
    ]


@pytest.mark.parametrize(
    "definition",
    [
        {"name": "orders", "listeners": [], "endpointGroups": []},
        {"apiVersion": "gravitee.io/v1alpha1", "kind": "ApiV4Definition", "spec": {"name": "orders", "listeners": []}},
    ],
)
def test_a_definition_is_refused_as_a_subscription(definition: dict[str, Any]) -> None:
    assert problems(definition) == ["this is an API definition, not a subscription; WEBHOOKS_API names its file"]
