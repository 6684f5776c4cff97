"""Subscriptions of Gravitee as subscriptions of this pipeline, with their API."""

import copy
import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.cli.output import as_yaml
from pipeline.config.definition import parse_definition
from pipeline.config.documents import parse_documents, read_documents
from pipeline.config.gravitee.masked import masked
from pipeline.config.gravitee.shapes import Contents, contents, numbered
from pipeline.core.errors import ConfigurationError
from pipeline.core.subscription import Routing
from pipeline.subscriptions.envelope import parse_subscription
from pipeline.subscriptions.gravitee import LeftOut, Taken, as_written, take
from pipeline.subscriptions.gravitee_import import Imported, imported
from pipeline.subscriptions.secrets import mask

FILES = Path(__file__).parents[2] / "gravitee"
SECRETS = ("k4fka-s3cret", "b4sic-s3cret", "t0ken-s3cret", "0auth-s3cret")


def found_in(*names: str) -> Contents:
    return contents(each for name in names for each in numbered(name, read_documents(FILES / name)))


def document(**more: Any) -> dict[str, Any]:
    options = {"callbackUrl": "https://example.com", **more.pop("options", {})}
    consumer = {"entrypointId": "webhook", "entrypointConfiguration": options}
    return {"id": "s", "consumerConfiguration": consumer, "status": "ACCEPTED", "consumerStatus": "STARTED", **more}


def taken(**more: Any) -> Taken:
    found = take(document(**more))
    assert isinstance(found, Taken)
    return found


def problems(*names: str, accepted: tuple[str, ...] = (), groups: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        imported(found_in(*names), accepted, groups)
    return caught.value.problems


def notes(result: Imported, word: str) -> list[str]:
    return [sentence for each, sentence in result.notes if each == word]


def test_a_page_of_subscriptions_is_imported() -> None:
    result = imported(found_in("console-export.json", "subscriptions.json"))
    shop, depot, ledger = result.subscriptions
    assert shop.metadata == {"feature": "orders"}
    assert shop.configuration.entrypoint_configuration.callback_url == "https://shop.example.com/hooks"
    assert (depot.status, depot.consumer_status) == ("PAUSED", "STARTED")
    assert (ledger.status, ledger.consumer_status) == ("ACCEPTED", "STOPPED")
    assert notes(result, "left out") == [
        'subscription "sub-asks": its status is PENDING, so Gravitee delivers nothing to it',
        'subscription "sub-gone": its status is CLOSED, so Gravitee delivers nothing to it',
        'subscription "sub-stream": it names no callback, because its plan is not a PUSH plan',
    ]
    assert notes(result, "begins") == ["3 of 3 subscriptions get only events that are written after they are applied"]


def test_a_terraform_state_contains_api_and_subscriptions() -> None:
    result = imported(found_in("terraform-show.json"))
    [shop] = result.subscriptions
    assert (shop.id, shop.ending_at, shop.metadata) == ("sub-shop", "2040-12-25T09:12:28Z", {"feature": "orders"})
    assert result.definition is not None
    assert parse_definition(result.definition).routing is Routing.MATCH


@pytest.mark.parametrize("name", ["api.json", "console-export.json", "apiv4definition.yaml", "terraform-show.json"])
def test_an_imported_api_is_read_back_unchanged(name: str) -> None:
    result = imported(found_in(name, "subscriptions.json") if name == "api.json" else found_in(name))
    assert result.definition is not None
    [read] = parse_documents(as_yaml(result.definition))
    assert read == result.definition
    assert parse_definition(read).ignored == ()
    texts = [as_yaml(as_written(each)) for each in result.subscriptions]
    assert [parse_subscription(each) for each in parse_documents("---\n".join(texts))] == result.subscriptions


def test_the_shown_result_contains_no_secret() -> None:
    result = imported(found_in("console-export.json", "subscriptions.json"))
    assert result.definition is not None
    written = as_yaml(result.definition) + "".join(as_yaml(as_written(each)) for each in result.subscriptions)
    shown = as_yaml(masked(result.definition))
    shown += "".join(as_yaml(as_written(mask(each))) for each in result.subscriptions)
    assert [secret in written for secret in SECRETS] == [True] * 4
    assert [secret in shown for secret in SECRETS] == [False] * 4
    assert yaml.safe_load(as_yaml(masked(result.definition)))["name"] == "Orders"


@pytest.mark.parametrize(
    ("retry", "expected"),
    [
        ({"retryOnFail": False}, {"retryOption": "No Retry"}),
        ({"retryOnFail": True}, {"retryOption": "Retry On Fail", "retryStrategy": "LINEAR"}),
        ({"retryOnFail": True, "retryOption": "No Retry"}, {"retryOption": "No Retry"}),
        ({"maxAttempts": 5, "maxDelaySeconds": None}, {"maxAttempts": 5, "retryStrategy": "LINEAR"}),
        ({"retryStrategy": "EXPONENTIAL"}, {"retryStrategy": "EXPONENTIAL"}),
    ],
)
def test_retries_keep_their_defaults(retry: dict[str, Any], expected: dict[str, Any]) -> None:
    written = as_written(taken(options={"retry": retry}).subscription)
    assert written["configuration"]["entrypointConfiguration"]["retry"] == expected


def test_older_envelopes_and_times_are_read() -> None:
    flat = {"callbackUrl": "https://example.com", "entrypointId": "webhook-advanced", "channel": "orders"}
    found = take({"id": "s", "configuration": flat, "startingAt": 1_767_225_600_000})
    assert isinstance(found, Taken)
    assert found.subscription.configuration.channel == "orders"
    assert found.subscription.configuration.entrypoint_id == "webhook-advanced"
    assert found.subscription.starting_at == "2026-01-01T00:00:00+00:00"


def test_a_subscription_in_our_own_format_is_unchanged() -> None:
    own = {
        "id": "s",
        "configuration": {"entrypointId": "webhook", "entrypointConfiguration": {"callbackUrl": "https://example.com"}},
        "qos": "none",
        "topics": ["orders"],
        "startFrom": "earliest",
    }
    found = take(own)
    assert isinstance(found, Taken)
    assert as_written(found.subscription) == own
    assert found.ignored == ()


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"status": "REJECTED"}, "its status is REJECTED, so Gravitee delivers nothing to it"),
        ({"consumerConfiguration": None}, "it names no callback, because its plan is not a PUSH plan"),
        ({"consumerConfiguration": {"entrypointId": "sse"}}, 'its entrypoint is "sse"'),
    ],
)
def test_subscriptions_that_gravitee_does_not_call_are_left_out(more: dict[str, Any], why: str) -> None:
    assert take(document(**more)) == LeftOut("s", why)


def test_an_expression_has_to_be_accepted_explicitly() -> None:
    page = {"data": [document(options={"headers": [{"name": "X-Key", "value": "{#secrets.get('/x')}"}]})]}
    found = contents([("f", page)])
    with pytest.raises(ConfigurationError) as caught:
        imported(found)
    [problem] = caught.value.problems
    assert problem.startswith(
        "f: data[0]: configuration.entrypointConfiguration.headers[0].value: contains an expression"
    )
    assert problem.endswith("; webhooks import-gravitee --accept-ignored expressions accepts the loss")
    result = imported(found, accepted=("expressions",))
    assert [each.id for each in result.subscriptions] == ["s"]
    assert len(notes(result, "lost")) == 1


def test_every_mistake_is_reported_with_its_path() -> None:
    page = [document(options={"callbackUrl": "ftp://x"}), document(), document()]
    api = read_documents(FILES / "api.json")[0]
    assert isinstance(api, dict)
    api["flows"] = [{"subscribe": [{"policy": "xslt"}]}]
    with pytest.raises(ConfigurationError) as caught:
        imported(contents([("api", api), ("subs", page), ("other", {"a": 1})]), groups=("t=g",))
    assert [each.split("; ")[0] for each in caught.value.problems] == [
        "other: is neither an API nor a subscription in a known shape",
        'api: flows[0].subscribe[0]: Gravitee applies the policy "xslt", which this pipeline does not have',
        "subs[0]: configuration.entrypointConfiguration.callbackUrl: must begin with http:// or https://",
        'subs[2]: id: "s" is taken by another subscription',
        '--from-group: "t" is not the id of an imported subscription',
    ]


def test_losses_that_were_accepted_are_listed() -> None:
    api = copy.deepcopy(read_documents(FILES / "api.json")[0])
    assert isinstance(api, dict)
    api["flows"] = [{"subscribe": [{"policy": "xslt"}]}]
    result = imported(contents([("api", api)]), accepted=("flows",))
    assert result.definition is not None
    assert "flows" not in result.definition
    [lost] = notes(result, "lost")
    assert lost.startswith('api: flows[0].subscribe[0]: Gravitee applies the policy "xslt"')


def test_an_import_has_exactly_one_api() -> None:
    assert problems("api.json", "console-export.json") == [
        'there are 2 APIs; exactly one is allowed: api.json ("Orders"), console-export.json ("Orders")'
    ]
    with pytest.raises(ConfigurationError, match=r"^there are 0 APIs; exactly one is allowed: none$"):
        imported(Contents())


@pytest.mark.parametrize("total", [{"pagination": {"totalCount": 3}}, {"page": {"total_elements": 3}}])
def test_a_missing_page_is_an_error(total: dict[str, Any]) -> None:
    pages = [{"data": [document(id="a"), document(id="b")], **total}, {"data": [document(id="c")], **total}]
    assert [each.id for each in imported(contents(numbered("f", pages))).subscriptions] == ["a", "b", "c"]
    with pytest.raises(ConfigurationError, match=r"^there are 3 subscriptions, but only 2 here; add the other pages$"):
        imported(contents(numbered("f", pages[:1])))


def test_any_deeply_nested_part_is_refused() -> None:
    nested: object = "x"
    for _ in range(sys.getrecursionlimit()):  # hypothesis raises the limit
        nested = [nested]
    [api] = read_documents(FILES / "api.json")
    assert isinstance(api, dict)
    for each in ({**api, "plans": nested}, document(metadata=nested), document(options={"auth": nested})):
        with pytest.raises(ConfigurationError):
            imported(contents([("f", each)]))


def test_a_subscription_to_another_api_is_left_out() -> None:
    found = found_in("api.json")
    more = contents([("f", document(api={"id": "other"}))])
    found.subscriptions = more.subscriptions
    assert notes(imported(found), "left out") == ['subscription "s": it belongs to the API "other"']


def test_a_subscription_begins_at_the_offsets_of_its_group() -> None:
    files = ("console-export.json", "subscriptions.json")
    both = imported(found_in(*files), groups=("id", "sub-depot=depots"))
    assert [each.start_from for each in both.subscriptions] == ["group:sub-shop", "group:depots", "group:sub-ledger"]
    one = imported(found_in(*files), groups=("sub-depot=depots",))
    assert [each.start_from for each in one.subscriptions] == [None, "group:depots", None]
    assert notes(one, "begins") == ["2 of 3 subscriptions get only events that are written after they are applied"]


def test_with_key_no_group_position_is_imported() -> None:
    found = found_in("api.json", "subscriptions.json")
    listeners: Any = found.apis[0].document["listeners"]
    listeners[0]["entrypoints"][0]["routing"] = "key"
    with pytest.raises(ConfigurationError) as caught:
        imported(found, groups=("sub-shop=g",))
    [problem] = caught.value.problems
    assert problem.startswith("subscriptions.json: data[0]: startFrom: is only allowed with routing: match; ")


TEXT = st.text(max_size=8)
OPTIONS = st.fixed_dictionaries(
    {"callbackUrl": st.just("https://example.com/hook")},
    optional={
        "headers": st.lists(
            st.fixed_dictionaries({"name": st.sampled_from(["X-A", "X-Api-Key"]), "value": TEXT}), max_size=2
        ),
        "auth": st.fixed_dictionaries(
            {"type": st.just("token"), "token": st.fixed_dictionaries({"value": TEXT}), "basic": st.none()}
        ),
        "retry": st.fixed_dictionaries(
            {},
            optional={
                "retryOption": st.sampled_from(["No Retry", "Retry On Fail"]),
                "retryOnFail": st.booleans(),
                "maxAttempts": st.integers(0, 5) | st.none(),
            },
        ),
        "ssl": st.fixed_dictionaries({}, optional={"trustAll": st.booleans(), "trustStore": st.none()}),
    },
)
SUBSCRIPTIONS = st.fixed_dictionaries(
    {
        "id": st.text(min_size=1, max_size=6),
        "consumerConfiguration": st.fixed_dictionaries(
            {"entrypointId": st.just("webhook"), "entrypointConfiguration": OPTIONS}, optional={"channel": TEXT}
        ),
        "status": st.sampled_from(["ACCEPTED", "PAUSED"]),
        "consumerStatus": st.sampled_from(["STARTED", "STOPPED", "FAILURE"]),
    },
    optional={"metadata": st.dictionaries(TEXT, TEXT, max_size=2), "endingAt": st.just("2040-01-01T00:00:00Z")},
)


@given(SUBSCRIPTIONS)
def test_an_imported_subscription_is_read_back_from_its_file(document: dict[str, Any]) -> None:
    try:
        found = take(document)
    except ConfigurationError:
        return
    assert isinstance(found, Taken)
    [read] = parse_documents(as_yaml(as_written(found.subscription)))
    assert parse_subscription(read) == found.subscription


def as_text(api: dict[str, Any]) -> dict[str, Any]:
    """The API with configurations as text, like a Console export."""
    text = copy.deepcopy(api)
    for group in text["endpointGroups"]:
        group["sharedConfiguration"] = json.dumps(group["sharedConfiguration"])
        for endpoint in group["endpoints"]:
            endpoint["configuration"] = json.dumps(endpoint["configuration"])
    return text


def in_snake_case(value: object) -> object:
    match value:
        case dict():
            return {re.sub(r"([A-Z])", r"_\1", name).lower(): in_snake_case(each) for name, each in value.items()}
        case list():
            return [in_snake_case(each) for each in value]
        case _:
            return value


def of_terraform(api: dict[str, Any]) -> dict[str, Any]:
    text = as_text(api)
    entrypoint = text["listeners"][0]["entrypoints"][0]
    entrypoint["configuration"] = json.dumps(entrypoint["configuration"])
    attributes = in_snake_case(text)
    assert isinstance(attributes, dict)
    attributes["listeners"] = [{"subscription": each, "http": None} for each in attributes["listeners"]]
    resource = {"type": "apim_apiv4", "name": "orders", "values": attributes}
    return {"format_version": "1.0", "values": {"root_module": {"resources": [resource]}}}


SHAPES: dict[str, Callable[[dict[str, Any]], object]] = {
    "export": lambda api: {"export": {}, "api": as_text(api), "plans": [], "members": []},
    "resource": lambda api: {"apiVersion": "gravitee.io/v1alpha1", "kind": "ApiV4Definition", "spec": api},
    "terraform": of_terraform,
}
MILLISECONDS = st.integers(1, 3_600_000)
API = st.builds(
    lambda qos, flags, http, topic, reset, security: {
        "name": "Orders",
        "type": "MESSAGE",
        "listeners": [
            {
                "type": "SUBSCRIPTION",
                "entrypoints": [{"type": "webhook", "qos": qos, "configuration": {**flags, "http": http}}],
            }
        ],
        "endpointGroups": [
            {
                "name": "source",
                "type": "kafka",
                "sharedConfiguration": {
                    "consumer": {"enabled": True, "topics": [topic], "autoOffsetReset": reset, "encodeMessageId": True},
                    "security": security,
                },
                "endpoints": [{"name": "e", "type": "kafka", "configuration": {"bootstrapServers": "kafka:9092"}}],
            }
        ],
    },
    st.sampled_from(["NONE", "AUTO", "AT_MOST_ONCE", "AT_LEAST_ONCE"]),
    st.fixed_dictionaries(
        {},
        optional={
            "interruptConsumptionOnServerError": st.booleans(),
            "interruptConsumptionOnException": st.booleans(),
        },
    ),
    st.fixed_dictionaries(
        {}, optional={"connectTimeout": MILLISECONDS, "maxConcurrentConnections": st.integers(1, 20)}
    ),
    st.text("abc-", min_size=1, max_size=5),
    st.sampled_from(["earliest", "latest"]),
    st.just({"protocol": "PLAINTEXT"})
    | st.fixed_dictionaries(
        {
            "protocol": st.just("SASL_SSL"),
            "sasl": st.fixed_dictionaries(
                {"mechanism": st.just("PLAIN"), "username": st.just("u"), "password": st.text(min_size=1, max_size=6)}
            ),
        }
    ),
)


@pytest.mark.parametrize("shape", SHAPES)
@given(api=API)
def test_any_api_is_converted_without_change_from_every_format(shape: str, api: dict[str, Any]) -> None:
    expected = replace(parse_definition(api), stated_routing=Routing.MATCH, ignored=())
    result = imported(contents([("f", SHAPES[shape](api))]))
    assert result.definition is not None
    [read] = parse_documents(as_yaml(result.definition))
    assert parse_definition(read) == expected


GARBAGE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["{", "webhook", "{#"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                ["entrypointId", "entrypointConfiguration", "callbackUrl", "retry", "retryOnFail", "channel", "id"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
FIELDS = ["id", "api", "consumerConfiguration", "configuration", "status", "consumerStatus", "startingAt", "endingAt"]


@given(st.sampled_from([*FIELDS, "metadata", "qos", "topics", "startFrom"]), GARBAGE)
@example("configuration", {"entrypointId": ["webhook"], "callbackUrl": "https://example.com"})
@example("startingAt", 10**30)
@example("endingAt", 10**15)
def test_any_subscription_is_imported_or_refused(name: str, value: object) -> None:
    document = {"id": "s", "configuration": {"callbackUrl": "https://example.com"}, name: value}
    try:
        result = imported(contents([("f", document)]))
    except ConfigurationError:
        return
    for each in result.subscriptions:
        [read] = parse_documents(as_yaml(as_written(each)))
        assert parse_subscription(read) == each


@pytest.mark.parametrize("routing", ["key", "match"])
def test_several_topics_are_imported(routing: str) -> None:
    found = found_in("api.json")
    api: Any = found.apis[0].document
    api["endpointGroups"][0]["sharedConfiguration"]["consumer"]["topics"] = ["orders", "returns"]
    api["listeners"][0]["entrypoints"][0]["routing"] = routing
    definition = imported(found).definition
    assert parse_definition(definition).source.topics == ("orders", "returns")
