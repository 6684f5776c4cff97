"""API definitions: values that are read, and errors."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.definition import Definition, configured_definition, load_definition, parse_definition
from pipeline.config.settings import Settings
from pipeline.core.errors import ConfigurationError
from pipeline.core.subscription import HttpLimits, Interrupt, Proxy, Qos, RetryPolicy, Routing

EXAMPLE = """
name: orders
listeners:
  - type: subscription
    entrypoints:
      - type: webhook-advanced
        routing: key
        qos: at-least-once
        dlq: { endpoint: dlq-endpoint }
        configuration:
          interruptConsumptionOnServerError: false
          http: { connectTimeout: 1000, readTimeout: 2000, idleTimeout: 3000, maxConcurrentConnections: 7 }
endpointGroups:
  - name: source
    type: kafka
    endpoints:
      - name: default
        type: kafka
        configuration: { bootstrapServers: "localhost:9092" }
        sharedConfigurationOverride: { consumer: { enabled: true, topics: [events], autoOffsetReset: earliest } }
  - name: dlq-endpoint
    type: kafka
    endpoints:
      - name: dlq
        type: kafka
        configuration: { bootstrapServers: "localhost:9092" }
        sharedConfigurationOverride: { producer: { enabled: true, topics: [events-dlq] } }
"""


@pytest.fixture
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(EXAMPLE)
    return loaded


def entrypoint(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["listeners"][0]["entrypoints"][0]
    return found


def shared(document: dict[str, Any], group: int) -> dict[str, Any]:
    found: dict[str, Any] = document["endpointGroups"][group]["endpoints"][0]["sharedConfigurationOverride"]
    return found


def problems(document: object) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        parse_definition(document)
    return caught.value.problems


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_the_example_is_read_from_yaml_and_json(tmp_path: Path, document: dict[str, Any], suffix: str) -> None:
    file = tmp_path / f"api.{suffix}"
    file.write_text(EXAMPLE if suffix == "yaml" else json.dumps(document))
    found = load_definition(file)
    assert found.name == "orders"
    assert found.qos is Qos.AT_LEAST_ONCE
    assert found.interrupt == Interrupt(on_server_error=False, on_exception=True, on_gone=False)
    assert found.http == HttpLimits(1.0, 2.0, 3.0)
    assert found.max_concurrent_connections == 7
    assert (found.source.topic, found.source.auto_offset_reset) == ("events", "earliest")
    assert found.source.connection.bootstrap_servers == ("localhost:9092",)
    assert found.dlq is not None
    assert found.dlq.topic == "events-dlq"
    assert found.ignored == ()


def test_committed_records_are_read_by_default(
    document: dict[str, Any],
) -> None:
    assert parse_definition(document).source.isolation_level == "read_committed"
    shared(document, 0)["consumer"]["isolationLevel"] = "read_uncommitted"
    assert parse_definition(document).source.isolation_level == "read_uncommitted"


@pytest.mark.parametrize("configuration", [None, {}])
def test_without_configuration_the_documented_defaults_hold(document: dict[str, Any], configuration: object) -> None:
    document["listeners"][0]["entrypoints"] = [{"type": "webhook", "configuration": configuration}]
    del shared(document, 0)["consumer"]["autoOffsetReset"]
    found = parse_definition(document)
    assert (found.qos, found.dlq, found.proxy) == (Qos.AUTO, None, None)
    assert found.interrupt == Interrupt(on_server_error=True, on_exception=True, on_gone=False)
    assert found.http == HttpLimits(3.0, 10.0, 60.0)
    assert found.source.auto_offset_reset == "latest"


@pytest.mark.parametrize("spelling", ["at-most-once", "AT_MOST_ONCE", "At-Most-Once"])
def test_a_qos_is_read_in_every_spelling_of_gravitee(document: dict[str, Any], spelling: str) -> None:
    entrypoint(document)["qos"] = spelling
    assert parse_definition(document).qos is Qos.AT_MOST_ONCE


def test_the_routing_comes_from_the_definition_or_the_setting(
    document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def configured(stated: str | None, setting: str) -> Definition:
        entrypoint(document)["routing"] = stated
        file = tmp_path / "api.json"
        file.write_text(json.dumps(document))
        monkeypatch.setenv("WEBHOOKS_API", str(file))
        monkeypatch.setenv("WEBHOOKS_SECRET_KEYS", Fernet.generate_key().decode())
        monkeypatch.setenv("WEBHOOKS_ROUTING", setting)
        return configured_definition(Settings())

    assert configured("key", "").routing is Routing.KEY
    assert configured("MATCH", "match").routing is Routing.MATCH
    assert configured(None, "match").routing is Routing.MATCH
    with pytest.raises(ConfigurationError, match=r"^WEBHOOKS_ROUTING: match contradicts .*, which says routing: key"):
        configured("key", "match")
    unsaid = configured(None, "")
    assert unsaid.stated_routing is None
    with pytest.raises(ConfigurationError) as caught:
        assert unsaid.routing
    assert str(caught.value).startswith(
        f"{tmp_path / 'api.json'}: listeners[0].entrypoints[0].routing: is required; allowed: match, key.\n"
    )
    with pytest.raises(ConfigurationError, match=r'^WEBHOOKS_ROUTING: "both" is not allowed; allowed: key, match$'):
        configured(None, "both")


@pytest.mark.parametrize("own", ["events", "attempts", "audit"])
def test_a_topic_that_workers_write_is_not_a_source(
    document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str
) -> None:
    """The delivery of a notification would cause another notification, without end."""
    shared(document, 0)["consumer"]["topics"] = [f"hooks.{own}"]
    file = tmp_path / "api.json"
    file.write_text(json.dumps(document))
    monkeypatch.setenv("WEBHOOKS_API", str(file))
    monkeypatch.setenv("WEBHOOKS_SECRET_KEYS", Fernet.generate_key().decode())
    monkeypatch.setenv("WEBHOOKS_APP", "hooks")
    with pytest.raises(ConfigurationError, match=f'source topic "hooks.{own}" is written by the workers of this'):
        configured_definition(Settings())
    monkeypatch.setenv("WEBHOOKS_APP", "others")
    assert configured_definition(Settings()).source.topics == (f"hooks.{own}",)


def test_parts_without_effect_are_listed_and_not_refused(document: dict[str, Any]) -> None:
    document |= {"flows": [{}], "plans": {}, "analytics": {"enabled": True}, "apiVersion": "1", "type": "MESSAGE"}
    document["listeners"].append({"type": "http", "paths": [{"path": "/x"}], "entrypoints": [{"type": "sse"}]})
    document["endpointGroups"][0]["loadBalancer"] = {"type": "ROUND_ROBIN"}
    document["endpointGroups"][0]["endpoints"][0]["weight"] = 1
    entrypoint(document)["configuration"]["logging"] = {"enabled": False}
    assert set(parse_definition(document).ignored) == {
        "flows",
        "plans",
        "analytics",
        "apiVersion",
        "listeners[1]",
        "listeners[0].entrypoints[0].configuration.logging",
        "endpointGroups[0].loadBalancer",
        "endpointGroups[0].endpoints[0].weight",
    }


def test_configurations_that_were_exported_as_text_are_read(document: dict[str, Any]) -> None:
    endpoint = document["endpointGroups"][0]["endpoints"][0]
    for name in ("configuration", "sharedConfigurationOverride"):
        endpoint[name] = json.dumps(endpoint[name])
    assert parse_definition(document).source.topic == "events"


def test_an_endpoint_overrides_the_settings_of_its_group(document: dict[str, Any]) -> None:
    login = {"mechanism": "PLAIN", "username": "group", "password": "p"}
    document["endpointGroups"][0]["sharedConfiguration"] = {
        "security": {"protocol": "SASL_PLAINTEXT", "sasl": login},
        "consumer": {"enabled": True, "topics": ["other"]},
    }
    shared(document, 0)["security"] = {"sasl": {"username": "endpoint"}}
    found = parse_definition(document).source
    assert (found.topic, found.connection.username, found.connection.password) == ("events", "endpoint", "p")


def test_an_endpoint_can_refuse_the_settings_of_its_group(document: dict[str, Any]) -> None:
    document["endpointGroups"][0]["sharedConfiguration"] = {"security": {"protocol": "SSL"}}
    document["endpointGroups"][0]["endpoints"][0]["inheritConfiguration"] = False
    assert parse_definition(document).source.connection.protocol == "PLAINTEXT"


def test_other_brokers_replace_those_of_one_or_both_endpoints(document: dict[str, Any]) -> None:
    found = parse_definition(document, "other:1, more:2")
    assert found.dlq is not None
    assert found.source.connection.bootstrap_servers == ("other:1", "more:2")
    assert found.dlq.connection.bootstrap_servers == ("other:1", "more:2")
    document["endpointGroups"][1]["endpoints"][0]["configuration"]["bootstrapServers"] = "elsewhere:9092"
    found = parse_definition(document, "other:1")
    assert found.dlq is not None
    assert found.dlq.connection.bootstrap_servers == ("elsewhere:9092",)


def test_a_definition_can_name_the_embedded_broker(document: dict[str, Any]) -> None:
    for group in document["endpointGroups"]:
        group["endpoints"][0]["configuration"]["bootstrapServers"] = "embedded://127.0.0.1:9092"
    for replacing, found in (None, parse_definition(document)), ("other:1", parse_definition(document, "other:1")):
        assert found.dlq is not None
        for connection in (found.source.connection, found.dlq.connection):
            assert connection.bootstrap_servers == (replacing or "127.0.0.1:9092",)
            assert connection.embedded is (replacing is None)


def test_dead_letters_may_name_an_endpoint_or_a_group(document: dict[str, Any]) -> None:
    entrypoint(document)["dlq"] = {"endpoint": "dlq"}
    assert parse_definition(document).dlq is not None
    shared(document, 0)["producer"] = {"enabled": True, "topics": ["own-dlq"]}
    entrypoint(document)["dlq"] = {"endpoint": "default"}
    found = parse_definition(document)
    assert found.dlq is not None
    assert found.dlq.topic == "own-dlq"


def test_a_proxy_may_be_configured_systemwide_or_absent(document: dict[str, Any]) -> None:
    def with_proxy(**options: object) -> Definition:
        entrypoint(document)["configuration"]["proxy"] = options
        return parse_definition(document)

    assert with_proxy(enabled=False, host="p", port=1).proxy is None
    assert with_proxy(enabled=True, useSystemProxy=True).use_system_proxy
    found = with_proxy(enabled=True, host="p", port=3128, username="u", password="hunter2")
    assert found.proxy == Proxy("http://p:3128", "u", "hunter2")
    assert not found.use_system_proxy
    assert "hunter2" not in repr(found)
    assert with_proxy(enabled=True, type="SOCKS5", host="::1", port=1080).proxy == Proxy("socks5://[::1]:1080")
    assert with_proxy(enabled=True, type="SOCKS4", host="p", port=1, username="u").proxy == Proxy("socks4://p:1", "u")


def test_recovery_is_on_unless_it_is_switched_off(document: dict[str, Any]) -> None:
    three_days = RetryPolicy(initial_delay_seconds=60, max_delay_seconds=3_600, max_elapsed_seconds=259_200)
    assert parse_definition(document).probes == three_days

    entrypoint(document)["recovery"] = {"initialDelaySeconds": 5, "maxDelaySeconds": 5, "maxElapsedSeconds": 9}
    found = parse_definition(document).probes
    assert found == replace(three_days, initial_delay_seconds=5, max_delay_seconds=5, max_elapsed_seconds=9)

    entrypoint(document)["recovery"] = {"probe": False}
    assert parse_definition(document).probes is None


ENTRYPOINT = "listeners[0].entrypoints[0]"
SOURCE = "endpointGroups[0].endpoints[0]"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda d: d.pop("name"), "name: is required"),
        (lambda d: d.update(nmae="x"), "nmae: unknown field; did you mean name?"),
        (lambda d: d.update(type="PROXY"), "type: 'PROXY' is not a kind of API that delivers webhooks"),
        (lambda d: d.update(definitionVersion="V2"), "definitionVersion: 'V2' is not supported; allowed: V4"),
        (lambda d: d.update(listeners=[]), "listeners: must not be empty"),
        (lambda d: d["listeners"][0].update(type="mqtt"), 'listeners[0].type: "mqtt" is not a listener'),
        (lambda d: entrypoint(d).pop("type"), f"{ENTRYPOINT}.type: is required"),
        (lambda d: entrypoint(d).update(type="sse"), f'{ENTRYPOINT}.type: "sse" is not allowed; allowed: webhook'),
        (lambda d: entrypoint(d).update(qos="exactly-once"), f'{ENTRYPOINT}.qos: "exactly-once" is not allowed'),
        (
            lambda d: entrypoint(d).update(recovery={"initialDelaySeconds": 60, "maxDelaySeconds": 30}),
            f"{ENTRYPOINT}.recovery.initialDelaySeconds: 60 is more than maxDelaySeconds, 30",
        ),
        (lambda d: entrypoint(d).update(configuration=""), f"{ENTRYPOINT}.configuration: must be an object"),
        (lambda d: entrypoint(d).update(configuration="  "), f"{ENTRYPOINT}.configuration: must be an object"),
        (
            lambda d: entrypoint(d)["configuration"]["http"].update(maxConcurrentConnections=21),
            f"{ENTRYPOINT}.configuration.http.maxConcurrentConnections: 21 is out of range; allowed: 1 to 20",
        ),
        (
            lambda d: entrypoint(d)["configuration"]["http"].update(readTimeout="10"),
            f'{ENTRYPOINT}.configuration.http.readTimeout: must be a whole number, not "10"',
        ),
        (
            lambda d: entrypoint(d)["configuration"].update(interuptConsumptionOnException=True),
            f"{ENTRYPOINT}.configuration.interuptConsumptionOnException: unknown field; did you mean interrupt",
        ),
        (
            lambda d: entrypoint(d)["configuration"].update(proxy={"enabled": True, "port": 1}),
            f"{ENTRYPOINT}.configuration.proxy.host: is required when the proxy is enabled",
        ),
        (
            lambda d: entrypoint(d)["configuration"].update(
                proxy={"enabled": True, "type": "SOCKS4", "host": "h", "port": 1, "password": "hidden"}
            ),
            f"{ENTRYPOINT}.configuration.proxy.password: SOCKS4 supports only a user name",
        ),
        (
            lambda d: entrypoint(d)["configuration"].update(
                proxy={"enabled": True, "type": "SOCKS5", "host": "h", "port": 1, "username": "u"}
            ),
            f"{ENTRYPOINT}.configuration.proxy.password: is required with a username for SOCKS5",
        ),
        (
            lambda d: entrypoint(d)["configuration"].update(
                proxy={"enabled": True, "type": "SOCKS", "host": "h", "port": 1}
            ),
            f'{ENTRYPOINT}.configuration.proxy.type: "SOCKS" is not allowed; allowed: HTTP, SOCKS4',
        ),
        (
            lambda d: entrypoint(d).update(requireFilter=True),
            f"{ENTRYPOINT}.requireFilter: is only allowed with routing: match",
        ),
        (
            lambda d: entrypoint(d).update(routing="all"),
            f'{ENTRYPOINT}.routing: "all" is not allowed; allowed: key, match',
        ),
        (
            lambda d: d["listeners"][0]["entrypoints"].append({"type": "webhook"}),
            f"listeners: there is more than one webhook entrypoint: {ENTRYPOINT} (webhook-advanced)",
        ),
        (
            lambda d: d["listeners"].append({"type": "HTTP", "entrypoints": [{"type": "webhook"}]}),
            "listeners[1].entrypoints[0].type: webhook needs a listener of type subscription",
        ),
        (
            lambda d: entrypoint(d).update(dlq={"endpoint": "nowhere"}),
            f"{ENTRYPOINT}.dlq.endpoint: the dlq of the entrypoint webhook-advanced must target an endpoint or group",
        ),
        (
            lambda d: shared(d, 1)["producer"].update(enabled=False),
            f"{ENTRYPOINT}.dlq.endpoint: the dlq of the entrypoint webhook-advanced must target an endpoint or group",
        ),
        (
            lambda d: shared(d, 1)["producer"].update(topics=["events"]),
            f'{ENTRYPOINT}.dlq.endpoint: must not lead to the source topic "events"',
        ),
        (
            lambda d: shared(d, 0)["consumer"].update(topics=["a", "b", "a"]),
            f'{SOURCE}.sharedConfigurationOverride.consumer.topics: names "a" more than once',
        ),
        (
            lambda d: shared(d, 0)["consumer"].update(topics=[]),
            f"{SOURCE}.sharedConfigurationOverride.consumer.topics: must name at least one topic",
        ),
        (
            lambda d: shared(d, 0)["consumer"].update(topics=["{#request.header}"]),
            f"{SOURCE}.sharedConfigurationOverride.consumer.topics: contains an expression",
        ),
        (
            lambda d: shared(d, 0)["consumer"].update(autoOffsetReset="none"),
            f'{SOURCE}.sharedConfigurationOverride.consumer.autoOffsetReset: "none" is not allowed; allowed: earliest',
        ),
        (
            lambda d: d["endpointGroups"][0].update(type="kafak"),
            'endpointGroups[0].type: "kafak" is not a type of endpoint; did you mean kafka?',
        ),
        (lambda d: shared(d, 0)["consumer"].update(enabled=False), "endpointGroups: no endpoint of type kafka has"),
        (
            lambda d: shared(d, 1).update(consumer={"enabled": True, "topics": ["x"]}),
            'endpointGroups: more than one endpoint has consumer.enabled: true: "default", "dlq"',
        ),
        (
            lambda d: d["endpointGroups"][1].update(name="default"),
            'endpointGroups[1].name: "default" is taken by endpointGroups[0].endpoints[0]',
        ),
        (
            lambda d: d["endpointGroups"][0]["endpoints"][0].update(configuration={"bootstrapServers": "kafka"}),
            f'{SOURCE}.configuration.bootstrapServers: "kafka" is not a broker',
        ),
    ],
)
def test_an_error_names_path_value_and_what_is_allowed(document: dict[str, Any], change: Any, sentence: str) -> None:
    change(document)
    found = problems(document)
    assert len(found) == 1
    assert found[0].startswith(sentence)


def test_each_misspelt_type_of_an_endpoint_is_named(document: dict[str, Any]) -> None:
    for group in document["endpointGroups"]:
        group["type"] = group["endpoints"][0]["type"] = "Kafak"

    with pytest.raises(ConfigurationError) as caught:
        parse_definition(document)

    places = [f"endpointGroups[{index}]{part}" for index in range(2) for part in ("", ".endpoints[0]")]
    said = 'type: "Kafak" is not a type of endpoint; did you mean kafka?'
    assert caught.value.problems == [f"{place}.{said}" for place in places]


@pytest.mark.parametrize("name", ["kfka", "kafkaa", "kaffka", "Kafta", "kakfa", "kafka ", "KAFKAS"])
def test_a_type_with_a_slip_is_refused(document: dict[str, Any], name: str) -> None:
    document["endpointGroups"].append({"name": "more", "type": "mock", "endpoints": [{"name": "e", "type": name}]})
    assert problems(document) == [
        f'endpointGroups[2].endpoints[0].type: "{name}" is not a type of endpoint; did you mean kafka?'
    ]


@pytest.mark.parametrize(
    "name",
    ["mock", "http-proxy", "rabbitmq", "mqtt5", "solace", "native-kafka", "kafka-2", "kafka2", "k", "kappa", "akka"],
)
def test_endpoints_of_other_types_have_no_effect(document: dict[str, Any], name: str) -> None:
    endpoint = {"name": "e", "type": name, "configuration": {"anything": 1}}
    document["endpointGroups"].append({"name": "more", "type": name, "endpoints": [endpoint]})
    assert parse_definition(document).ignored == ("endpointGroups[2].endpoints[0]",)


def test_both_errors_about_endpoints_of_another_type_are_shown(document: dict[str, Any]) -> None:
    for group in document["endpointGroups"]:
        group["type"] = group["endpoints"][0]["type"] = "mock"

    with pytest.raises(ConfigurationError) as caught:
        parse_definition(document)

    assert [each.partition(":")[0] for each in caught.value.problems] == [
        "endpointGroups",
        f"{ENTRYPOINT}.dlq.endpoint",
    ]


def test_an_error_does_not_repeat_a_password_of_a_wrong_type(document: dict[str, Any]) -> None:
    entrypoint(document)["configuration"]["proxy"] = {"enabled": True, "password": 777123, "host": "p", "port": 1}
    assert "777123" not in "\n".join(problems(document))


@pytest.mark.parametrize("document", [None, [], "text", 7])
def test_a_document_that_is_not_an_object_is_refused(document: object) -> None:
    assert problems(document)[0].startswith("document: must be an object, not ")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(node: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path, *(place for key, child in children for place in places(child, (*path, key)))]


EXAMPLE_DOCUMENT = yaml.safe_load(EXAMPLE)
PLACES = [place for place in places(EXAMPLE_DOCUMENT) if place]


@given(place=st.sampled_from(PLACES), value=json_values)
def test_any_document_is_a_definition_or_has_errors_with_paths(place: tuple[Any, ...], value: object) -> None:
    document = copy.deepcopy(EXAMPLE_DOCUMENT)
    node = document
    for step in place[:-1]:
        node = node[step]
    node[place[-1]] = value
    try:
        parse_definition(document)
        sentences = []
    except ConfigurationError as error:
        sentences = error.problems
    assert [each for each in sentences if ": " not in each or each.startswith(":")] == []


@pytest.mark.parametrize("routing", ["key", "match"])
def test_a_definition_delivers_from_several_topics(routing: str, document: dict[str, Any]) -> None:
    shared(document, 0)["consumer"].update(topics=["orders", "payments"])
    entrypoint(document).update(routing=routing)
    found = parse_definition(document)
    assert found.source.topics == ("orders", "payments")
    assert found.source_topic("payments", "topic") == "payments"
    with pytest.raises(ConfigurationError, match=r"^topic: is required, because there are several: orders, payments$"):
        found.source_topic(None, "topic")
    with pytest.raises(ConfigurationError, match=r'^topic: "order" is not a source topic; did you mean orders[?]$'):
        found.source_topic("order", "topic")


def test_dead_letters_must_not_go_to_a_source_topic(document: dict[str, Any]) -> None:
    shared(document, 0)["consumer"].update(topics=["orders", "payments"])
    shared(document, 1)["producer"].update(topics=["payments"])
    entrypoint(document).update(routing="match")
    with pytest.raises(ConfigurationError, match=r'must not lead to the source topic "payments"'):
        parse_definition(document)
