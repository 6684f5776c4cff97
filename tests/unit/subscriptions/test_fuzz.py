"""Any document is either a valid subscription, or leads to errors that begin with a field."""

import base64
import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.config.definition import Definition
from pipeline.config.documents import read_document
from pipeline.config.keystores.opening import OpenHere
from pipeline.config.validation_messages import join
from pipeline.core.errors import ConfigurationError
from pipeline.core.subscription import Routing, Subscription
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.topics import Source
from pipeline.subscriptions.envelope import parse_subscription
from pipeline.subscriptions.resolve import check_limits, to_subscription
from pipeline.subscriptions.secrets import mask

PLANTED = "planted-secret"
SIGNING = "whsec_" + base64.b64encode(PLANTED.encode() * 2).decode()
AUTHORITY = trustme.CA()
LEAF = AUTHORITY.issue_cert("client.example")
DEFINITION = Definition("orders", Source(KafkaConnection(("k:9092",)), "events"), stated_routing=Routing.KEY)

# No secret is planted in a header. The header's name decides whether its value is a secret, and these tests also change
# names.
FULL: dict[str, Any] = {
    "id": "sub-1",
    "configuration": {
        "entrypointId": "webhook-advanced",
        "channel": None,
        "entrypointConfiguration": {
            "callbackUrl": "https://example.com/hook",
            "headers": [{"name": "X-Team", "value": "a"}, {"name": "X-Api-Key", "value": "b"}],
            "auth": {"type": "basic", "basic": {"username": "me", "password": PLANTED}},
            "ssl": {
                "hostnameVerifier": True,
                "trustAll": False,
                "trustStore": {"type": "PEM", "content": AUTHORITY.cert_pem.bytes().decode()},
                "keyStore": {
                    "type": "PEM",
                    "certContent": LEAF.cert_chain_pems[0].bytes().decode(),
                    "keyContent": LEAF.private_key_pem.bytes().decode(),
                },
            },
            "retry": {
                "retryOption": "Retry On Fail",
                "retryStrategy": "LINEAR",
                "maxAttempts": 3,
                "initialDelaySeconds": 10,
                "maxDelaySeconds": 30,
                "jitter": "NONE",
                "maxElapsedSeconds": 600,
                "statusCodes": [429, "5xx"],
            },
            "rate": {"eventsPerSecond": 5, "burst": 10},
            "filter": {"any": [{"exact": {"type": "a"}}, {"not": {"prefix": {"/order/state": "new"}}}]},
            "handshake": {"origin": "events.example.com", "ratePerMinute": 60},
            "signing": {"secrets": [SIGNING]},
            "http": {"connectTimeout": 1000, "readTimeout": 1000, "idleTimeout": 1000, "maxConcurrentConnections": 1},
        },
    },
    "qos": "at-least-once",
    "metadata": {"feature": "x"},
    "startingAt": "2026-01-01T00:00:00Z",
    "endingAt": "2036-01-01T00:00:00Z",
    "status": "ACCEPTED",
    "consumerStatus": "STARTED",
    "resumeFrom": {"partition": 0, "offset": 41},
}
AUTHS: list[dict[str, Any]] = [
    {"type": "token", "token": {"value": PLANTED}},
    {
        "type": "oauth2",
        "oauth2": {
            "endpoint": "https://id.example/token",
            "clientId": "c",
            "clientSecret": PLANTED,
            "scopes": ["a"],
            "clientAuthMethod": "client_secret_basic",
        },
    },
    {
        "type": "jwtProfileOauth2",
        "jwtProfileOauth2": {
            "issuer": "i",
            "subject": "s",
            "audience": "https://id.example/token",
            "signatureAlgorithm": "HMAC_HS256",
            "keyContent": PLANTED * 3,
            "customClaims": [{"name": "tenant", "value": "t"}],
            "keystoreOptions": {"storePassword": PLANTED},
        },
    },
]
FIELD = re.compile(r"[\w$@/-]+…?: |\[[^\n]*?\]: ")
"""A field of the document itself, with the colon after it."""
MISSING = re.compile(r"\.[\w$@/-]+: ")
"""A field that is missing in the object whose path precedes it, with the colon after it."""


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every path in a document."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def rendered(document: Any, path: str = "") -> Iterator[tuple[str, bool]]:
    """Every path in a document, written as in errors, and whether it leads to an object."""
    # In exported definitions, some strings contain JSON objects.
    yield path, isinstance(document, dict) or (isinstance(document, str) and document.lstrip().startswith("{"))
    if isinstance(document, dict):
        for key, value in document.items():
            yield from rendered(value, join(path, key))
    elif isinstance(document, list):
        for index, value in enumerate(document):
            yield from rendered(value, f"{path}[{index}]")


def names_a_place(sentence: str, document: Any) -> bool:
    """Whether a sentence begins with a path: of a part of the document, or of a field that is missing in one of its
    objects."""
    if not isinstance(document, dict):
        return sentence.startswith("subscription: ")
    places = {*rendered(document), *rendered(newer(document))}
    return bool(FIELD.match(sentence)) or any(
        sentence.startswith(f"{path}: ")
        or (is_object and sentence.startswith(path) and MISSING.match(sentence, len(path)))
        for path, is_object in places
        if path
    )


def newer(document: Any) -> Any:
    """The document in the newer envelope, whose paths some errors use for documents in both envelopes."""
    match document:
        case {"configuration": {"callbackUrl": _} as options}:
            return {**document, "configuration": {"entrypointConfiguration": options}}
        case _:
            return document


def put(document: Any, path: tuple[Any, ...], value: Any, *, away: bool) -> Any:
    """*document* with *value* at *path*, or without this path."""
    if not path:
        return value
    holder = document
    for key in path[:-1]:
        holder = holder[key]
    if away:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return document


words = st.sampled_from(
    ["", " ", "a", "NONE", "PEM", "JKS", "https://x", "https://u:p@x", "http://[", "0", "-1", "9" * 400, "\0", "\ud800"]
)
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | words | st.text(max_size=8) | st.just(2**70) | st.just(-1)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "content", "name", "value", "id", "configuration", "exact"]) | st.text(max_size=4),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@st.composite
def documents(draw: st.DrawFn) -> Any:
    """The full document, perhaps with another kind of auth, with one to three changes."""
    document = copy.deepcopy(FULL)
    options = document["configuration"]["entrypointConfiguration"]
    options["auth"] = copy.deepcopy(draw(st.sampled_from([options["auth"], *AUTHS])))
    if draw(st.integers(0, 9)) == 0:
        document["configuration"] = options
    for _ in range(draw(st.integers(1, 3))):
        if isinstance(document, dict | list):
            path = draw(st.sampled_from(list(places(document))))
            document = put(document, path, draw(values), away=bool(path) and draw(st.booleans()))
    return document


def judged(document: Any) -> list[str]:
    """The errors of a document; none if it is a subscription."""
    try:
        read = parse_subscription(document)
        check_limits(read, DEFINITION)
        assert isinstance(to_subscription(read, DEFINITION, 1, OpenHere()), Subscription)
        assert PLANTED not in repr(read)
        assert PLANTED not in repr(mask(read))
    except ConfigurationError as error:
        return list(error.problems)
    return []


def test_the_initial_document_is_valid() -> None:
    for auth in [FULL["configuration"]["entrypointConfiguration"]["auth"], *AUTHS]:
        document = copy.deepcopy(FULL)
        document["configuration"]["entrypointConfiguration"]["auth"] = auth
        assert judged(document) == []


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(documents())
def test_any_changed_document_is_valid_or_names_its_fields(document: Any) -> None:
    for sentence in judged(document):
        assert names_a_place(sentence, document), sentence
        assert PLANTED not in sentence
        assert "PRIVATE KEY" not in sentence


@settings(deadline=None)
@given(values)
def test_any_json_is_a_subscription_or_names_its_fields(document: Any) -> None:
    for sentence in judged(document):
        assert names_a_place(sentence, document), sentence


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=300) | values.map(lambda value: json.dumps(value).encode()),
    kind=st.sampled_from([".json", ".yaml"]),
)
def test_any_file_is_a_document_or_an_error_with_its_name(tmp_path: Path, content: bytes, kind: str) -> None:
    path = tmp_path / f"subscription{kind}"
    path.write_bytes(content)
    try:
        document = read_document(path)
    except ConfigurationError as error:
        sentences = list(error.problems)
    else:
        sentences = []
        judged(document)
    assert all(str(path) in sentence for sentence in sentences)


@pytest.mark.parametrize("depth", [100, 5_000])
def test_a_deeply_nested_document_is_refused(depth: int) -> None:
    nested: Any = {"exact": {"type": "a"}}
    for _ in range(depth):
        nested = {"not": nested}
    document = copy.deepcopy(FULL)
    document["configuration"]["entrypointConfiguration"]["filter"] = nested
    [sentence] = judged(document)
    assert "nested too deeply" in sentence
