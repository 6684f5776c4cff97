"""Formats of Gravitee and its tools: each is read as the same API, and losses are errors."""

import copy
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.definition import Definition, load_definition, parse_definition
from pipeline.config.documents import read_documents
from pipeline.config.gravitee.losses import NAMES, losses
from pipeline.config.gravitee.pruned import pruned
from pipeline.config.gravitee.shapes import Contents, api_of, contents, numbered
from pipeline.core.errors import ConfigurationError
from pipeline.core.subscription import HttpLimits, Interrupt, Qos

FILES = Path(__file__).parents[2] / "gravitee"
HOLDS_SUBSCRIPTIONS = (
    "f: this file holds subscriptions, not an API definition; webhooks subscriptions apply -f f applies them"
)
APIS = sorted(path.name for path in FILES.iterdir() if path.suffix != ".md" and path.name != "subscriptions.json")


def found_in(name: str) -> Contents:
    return contents(numbered(name, read_documents(FILES / name)))


def api(name: str = "api.json") -> dict[str, Any]:
    return copy.deepcopy(dict(api_of(read_documents(FILES / name), name).document))


def problems(act: Callable[[], object]) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        act()
    return caught.value.problems


@pytest.mark.parametrize("name", APIS)
def test_every_format_gives_the_same_definition(name: str) -> None:
    found = load_definition(FILES / name)
    source, dlq = found.source, found.dlq
    assert dlq is not None
    assert (found.name, source.topic, dlq.topic) == ("Orders", "orders", "orders-dlq")
    for connection in (source.connection, dlq.connection):
        assert connection.bootstrap_servers == ("kafka-1:9092", "kafka-2:9092")
        assert (connection.mechanism, connection.username, connection.password) == (
            "SCRAM-SHA-512",
            "hooks",
            "k4fka-s3cret",
        )
    assert source.auto_offset_reset == "latest"
    assert found.qos is Qos.AT_LEAST_ONCE
    assert found.interrupt == Interrupt(on_server_error=False)
    assert found.http == HttpLimits(2.0, 8.0, 60.0)
    assert found.stated_routing is None
    assert "flows" in found.ignored


@pytest.mark.parametrize("name", APIS)
def test_ignored_parts_do_not_change_a_definition(name: str) -> None:
    document = api(name)
    before = parse_definition(document)
    after = parse_definition(pruned(document, before.ignored))
    assert after.ignored == ()
    assert same(after) == same(before)


def same(definition: Definition) -> dict[str, object]:
    left_out = {"ignored", "entrypoint"}
    return {name: getattr(definition, name) for name in Definition.__slots__ if name not in left_out}


def test_ignored_parts_beside_the_api_are_reported() -> None:
    assert set(api_of(read_documents(FILES / "console-export.json"), "f").ignored) == {
        "export",
        "members",
        "metadata",
        "pages",
        "apiMedia",
    }
    assert api_of(read_documents(FILES / "apiv4definition.yaml"), "f").ignored == ('ManagementContext "management"',)
    assert api_of(read_documents(FILES / "terraform-show.json"), "f").ignored == (
        "apim_application.shop",
        "1 subscriptions",
    )


def test_subscriptions_are_read_from_pages_and_terraform_states() -> None:
    assert [each.document["id"] for each in found_in("subscriptions.json").subscriptions] == [
        "sub-shop",
        "sub-depot",
        "sub-ledger",
        "sub-asks",
        "sub-gone",
        "sub-stream",
    ]
    [subscription] = found_in("terraform-show.json").subscriptions
    assert subscription.location == "terraform-show.json: apim_subscription.shop"
    assert subscription.document["consumerConfiguration"]["entrypointId"] == "webhook"
    assert subscription.document["metadata"] == {"feature": "orders"}


def test_each_item_of_a_kubernetes_list_is_read() -> None:
    [_, resource] = read_documents(FILES / "apiv4definition.yaml")
    found = contents([("f", {"apiVersion": "v1", "kind": "List", "items": [resource, resource]})])
    assert [each.location for each in found.apis] == ["f: items[0]", "f: items[1]"]


@pytest.mark.parametrize(
    ("documents", "problem"),
    [
        ([], "f: contains 0 documents; exactly one is allowed"),
        ([{"a": 1}, {"b": 2}], "f: contains 2 documents; exactly one is allowed"),
        ([5], "f: must be an API definition, not a number"),
        ([{"data": [{"id": "s", "configuration": {}}]}], HOLDS_SUBSCRIPTIONS),
        ([{"id": "a", "configuration": {}}, {"id": "b", "configuration": {}}], HOLDS_SUBSCRIPTIONS),
        ([{"name": "a", "listeners": []}] * 2, 'f: contains 2 APIs ("a", "a"); exactly one is allowed'),
    ],
)
def test_a_file_has_to_contain_one_api(documents: list[object], problem: str) -> None:
    assert problems(lambda: api_of(documents, "f")) == [problem]


def test_a_template_that_only_other_tools_resolve_is_refused() -> None:
    [_, resource] = copy.deepcopy(read_documents(FILES / "apiv4definition.yaml"))
    assert isinstance(resource, dict)
    resource["spec"]["endpointGroups"][0]["name"] = "[[ configmap `kafka/group` ]]"
    assert problems(lambda: contents([("f", resource)])) == [
        "f: endpointGroups[0].name: contains a template that the operator fills in"
    ]
    [state] = copy.deepcopy(read_documents(FILES / "orders.tf.json"))
    assert isinstance(state, dict)
    state["resource"]["apim_apiv4"]["orders"]["endpoint_groups"][0]["name"] = "${var.group}"
    [problem] = problems(lambda: contents([("f", state)]))
    assert problem.startswith("f: apim_apiv4.orders: endpointGroups[0].name: contains a Terraform reference; read the ")


def test_terraform_s_own_language_is_not_read() -> None:
    assert problems(lambda: load_definition(Path("orders.tf"))) == [
        "orders.tf: is in Terraform's own language; import the output of terraform show -json instead"
    ]


@pytest.mark.parametrize("name", ["listeners", "data"])
def test_a_deeply_nested_file_is_refused(name: str) -> None:
    nested: object = "x"
    for _ in range(sys.getrecursionlimit()):  # hypothesis raises the limit
        nested = [nested]
    assert problems(lambda: contents([("f", {name: nested})])) == ["f: is nested too deeply"]


STEP = {"name": "Filter", "enabled": True, "policy": "message-filtering", "configuration": {"filter": "{#true}"}}


CONSUMER = "endpointGroups[0].sharedConfiguration.consumer.removeConfluentHeader"


@pytest.mark.parametrize(
    ("change", "path", "otherwise"),
    [
        (
            lambda a: a.update(flows=[{"enabled": True, "selectors": [], "subscribe": [STEP]}]),
            "flows[0].subscribe[0]",
            "give each subscription a filter",
        ),
        (
            lambda a: a.update(flows=[{"request": [{"policy": "xslt"}]}]),
            "flows[0].request[0]",
            "do what the policy does before events reach the topic",
        ),
        (
            lambda a: a.update(plans={"Push": {"mode": "PUSH", "flows": [{"subscribe": [{"policy": "xslt"}]}]}}),
            "plans.Push.flows[0].subscribe[0]",
            "do what the policy does before events reach the topic",
        ),
        (
            lambda a: a.update(plans=[{"mode": "PUSH", "status": "PUBLISHED", "selectionRule": "{#x == 1}"}]),
            "plans[0].selectionRule",
            "give each subscription a filter",
        ),
        (
            lambda a: a["endpointGroups"][0]["sharedConfiguration"]["consumer"].update(removeConfluentHeader=True),
            CONSUMER,
            "produce events without it",
        ),
    ],
)
def test_a_definition_that_would_change_deliveries_is_refused(
    change: Callable[[Any], None], path: str, otherwise: str
) -> None:
    document = api()
    change(document)
    [problem] = problems(lambda: parse_definition(document))
    [loss] = losses(document)
    assert loss.name in NAMES
    assert problem.startswith(f"{path}: ")
    assert problem.endswith(f"; {otherwise}; webhooks import-gravitee --accept-ignored {loss.name} accepts the loss")
    assert parse_definition(document, accepted={loss.name}).source.topic == "orders"


@pytest.mark.parametrize(
    "flow",
    [
        {},
        {"enabled": False, "subscribe": [STEP]},
        {"subscribe": [{**STEP, "enabled": False}]},
        {"publish": [STEP]},
        {"selectors": [{"type": "CHANNEL", "operations": ["PUBLISH"]}], "subscribe": [STEP]},
        {"selectors": [{"type": "CHANNEL", "entrypoints": ["sse"]}], "subscribe": [STEP]},
    ],
)
def test_a_flow_that_affects_no_webhook_changes_nothing(flow: dict[str, Any]) -> None:
    assert losses({"flows": [flow], "plans": [{"mode": "STANDARD", "flows": [{"subscribe": [STEP]}]}]}) == []


def test_a_plan_without_webhooks_changes_nothing() -> None:
    plans = [{"mode": "STANDARD", "selectionRule": "{#x}"}, {"status": "CLOSED", "selectionRule": "{#x}"}]
    assert losses({"plans": plans}) == []


NAMED = re.findall(
    r"\w+",
    """api apiVersion data enabled endpointGroups endpoints flows format_version items kind listeners metadata plans
    resource resources root_module selectors sharedConfiguration spec subscribe terraform_version values apim_apiv4
    configuration""",
)
DATA = st.recursive(
    st.none() | st.booleans() | st.text(max_size=5) | st.sampled_from(["SUBSCRIBE", "${x", "[[x", "{"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(NAMED),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(DATA)
def test_any_document_is_recognised_or_refused(document: object) -> None:
    try:
        found = contents([("f", document)])
    except ConfigurationError:
        return
    for each in found.apis:
        losses(each.document)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), max_size=5, unique=True))
def test_pruning_an_item_of_a_list_keeps_the_other_items(items: list[tuple[str, int]]) -> None:
    document = {name: [f"{name}{number}" for number in range(4)] for name in "abc"}
    left = pruned(document, [f"{name}[{number}]" for name, number in items])
    gone = {f"{name}{number}" for name, number in items}
    assert left == {name: [each for each in document[name] if each not in gone] for name in "abc"}


def test_a_part_of_a_configuration_given_as_text_is_pruned() -> None:
    document = api("console-export.json")
    assert json.loads(json.dumps(document["endpointGroups"][0]["sharedConfiguration"]))["consumer"]["encodeMessageId"]
    ignored = parse_definition(document).ignored
    consumer = pruned(document, ignored)["endpointGroups"][0]["sharedConfiguration"]["consumer"]
    assert consumer == {"enabled": True, "topics": ["orders"], "autoOffsetReset": "latest"}
