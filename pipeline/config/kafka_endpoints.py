"""Reads the endpoint groups of an API definition, and finds the source and the endpoint for dead letters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, Final

from pipeline.config.definition_schema import (
    Consumer,
    Endpoint,
    EndpointGroup,
    KafkaEndpointConfiguration,
    KafkaShared,
    Producer,
)
from pipeline.config.kafka_security import connection
from pipeline.config.schema import drop_meaningless, read
from pipeline.core.errors import ConfigurationError
from pipeline.core.shown import shown
from pipeline.kafka.connection import KafkaConnection, parse_bootstrap_servers
from pipeline.kafka.topics import DeadLetterTopic, Source

KAFKA: Final = "kafka"
_ONE_WRONG_LETTER: Final = 0.8
SHARED = "sharedConfiguration"
OVERRIDE = "sharedConfigurationOverride"
EMBEDDED = "embedded://"
"""The beginning of `bootstrapServers` in the definition of `webhooks dev`, which other commands read too."""


@dataclass(frozen=True, slots=True)
class KafkaEndpoint:
    """An endpoint of type kafka, with the values that it inherits."""

    name: str
    path: str
    connection: KafkaConnection
    consumer: Consumer | None
    producer: Producer | None

    @property
    def consumes(self) -> bool:
        """Whether events are read from the endpoint."""
        return self.consumer is not None and self.consumer.enabled

    @property
    def publishes(self) -> bool:
        """Whether events can be written to the endpoint."""
        return self.producer is not None and self.producer.enabled


@dataclass(frozen=True, slots=True)
class KafkaGroup:
    """An endpoint group. Endpoints of other types than kafka are kept as names only."""

    name: str
    path: str
    endpoints: tuple[KafkaEndpoint, ...]
    others: tuple[str, ...] = ()


def read_groups(documents: Sequence[object]) -> tuple[list[KafkaGroup], list[str]]:
    """The endpoint groups, and the paths of the fields without effect.

    Raises:
        ConfigurationError: a group can't be used, or a name is not unique.
    """
    groups: list[KafkaGroup] = []
    ignored: list[str] = []
    misspelt: list[str] = []
    for index, data in enumerate(documents):
        path = f"endpointGroups[{index}]"
        cleaned, dropped = drop_meaningless(EndpointGroup, data, path)
        ignored += dropped
        group = read(EndpointGroup, cleaned, path)
        endpoints: list[KafkaEndpoint] = []
        others: list[str] = []
        misspelt += _misspelt(group.type, path)
        for number, endpoint in enumerate(group.endpoints):
            misspelt += _misspelt(endpoint.type, f"{path}.endpoints[{number}]")
            if endpoint.type.lower() == KAFKA:
                kafka, dropped = _kafka_endpoint(group, endpoint, path, f"{path}.endpoints[{number}]")
                endpoints.append(kafka)
                ignored += dropped
            else:
                others.append(endpoint.name)
                ignored.append(f"{path}.endpoints[{number}]")
        groups.append(KafkaGroup(group.name, path, tuple(endpoints), tuple(others)))
    if misspelt:
        raise ConfigurationError(misspelt)
    _refuse_same_names(groups)
    return groups, ignored


def _misspelt(name: str, path: str) -> list[str]:
    """A problem if a type is probably a misspelt `kafka`. Other types are allowed, and have no effect."""
    word = name.strip().lower()
    # A name with a digit or a hyphen, such as kafka2, is the type of another plugin.
    is_close = word.isalpha() and bool(get_close_matches(word, [KAFKA], cutoff=_ONE_WRONG_LETTER))
    if name.lower() == KAFKA or not is_close:
        return []
    return [f"{path}.type: {shown(name)} is not a type of endpoint; did you mean {KAFKA}?"]


def find_source(groups: Sequence[KafkaGroup]) -> Source:
    """The source: the only endpoint from which events are read, and its topics.

    Raises:
        ConfigurationError: there is no such endpoint, or more than one.
    """
    found = [endpoint for group in groups for endpoint in group.endpoints if endpoint.consumes]
    if not found:
        raise ConfigurationError(
            "endpointGroups: no endpoint of type kafka has consumer.enabled: true; the source topic needs one"
        )
    if len(found) > 1:
        names = ", ".join(shown(endpoint.name) for endpoint in found)
        raise ConfigurationError(f"endpointGroups: more than one endpoint has consumer.enabled: true: {names}")
    endpoint = found[0]
    consumer = endpoint.consumer or Consumer.model_validate({})
    path = f"{endpoint.path}.{OVERRIDE}.consumer.topics"
    if not consumer.topics:
        raise ConfigurationError(f"{path}: must name at least one topic")
    repeated = [topic for index, topic in enumerate(consumer.topics) if topic in consumer.topics[:index]]
    if repeated:
        raise ConfigurationError(f"{path}: names {shown(repeated[0])} more than once")
    topic, *others = consumer.topics
    return Source(endpoint.connection, topic, consumer.auto_offset_reset, consumer.isolation_level, tuple(others))


def find_dead_letters(groups: Sequence[KafkaGroup], target: str, entrypoint: str, path: str) -> DeadLetterTopic:
    """The endpoint for dead letters. `dlq.endpoint` has its name or the name of its group.

    Args:
        groups: the groups of the definition.
        target: the value of `dlq.endpoint`.
        entrypoint: the type of the entrypoint, for errors.
        path: the path of the entrypoint.

    Raises:
        ConfigurationError: no endpoint or group has that name, or it does not publish to exactly one topic.
    """
    known = [name for group in groups for name in (group.name, *(e.name for e in group.endpoints), *group.others)]
    if target not in known:
        raise ConfigurationError(_no_target(entrypoint, target, path, f"known: {', '.join(known)}"))
    candidates = [
        endpoint
        for group in groups
        for endpoint in group.endpoints
        if target in {group.name, endpoint.name} and endpoint.publishes
    ]
    if not candidates:
        raise ConfigurationError(
            _no_target(entrypoint, target, path, "that needs type kafka, producer.enabled: true and producer.topics")
        )
    endpoint = candidates[0]
    topics = endpoint.producer.topics if endpoint.producer else None
    return DeadLetterTopic(endpoint.connection, _one_topic(topics, f"{endpoint.path}.{OVERRIDE}.producer.topics"))


def _no_target(entrypoint: str, target: str, path: str, hint: str) -> str:
    return (
        f"{path}.dlq.endpoint: the dlq of the entrypoint {entrypoint} must target an endpoint or group that can "
        f"publish, not {shown(target)}; {hint}"
    )


def _one_topic(topics: Sequence[str] | None, path: str) -> str:
    if not topics:
        raise ConfigurationError(f"{path}: must name exactly one topic")
    if len(topics) > 1:
        raise ConfigurationError(f"{path}: names {len(topics)} topics ({', '.join(topics)}); allowed: exactly one")
    return topics[0]


def _kafka_endpoint(
    group: EndpointGroup, endpoint: Endpoint, group_path: str, path: str
) -> tuple[KafkaEndpoint, list[str]]:
    own, dropped = drop_meaningless(KafkaEndpointConfiguration, endpoint.configuration, f"{path}.configuration")
    configuration = read(KafkaEndpointConfiguration, own, f"{path}.configuration")
    shared, more = _shared(group, endpoint, group_path, path)
    text = configuration.bootstrap_servers
    servers = parse_bootstrap_servers(text.removeprefix(EMBEDDED), f"{path}.configuration.bootstrapServers")
    cluster = connection(servers, shared.security, f"{path}.{OVERRIDE}.security")
    kafka = KafkaEndpoint(
        endpoint.name,
        path,
        replace(cluster, embedded=text.startswith(EMBEDDED)),
        shared.consumer,
        shared.producer,
    )
    return kafka, [*dropped, *more]


def _shared(group: EndpointGroup, endpoint: Endpoint, group_path: str, path: str) -> tuple[KafkaShared, list[str]]:
    """The configuration of a group, with the overrides of an endpoint."""
    parts: list[Mapping[str, Any]] = []
    ignored: list[str] = []
    sources = [(endpoint.shared_configuration_override, f"{path}.{OVERRIDE}")]
    # Without inheritance, the override is the whole configuration, as in Gravitee.
    if endpoint.inherit_configuration is not False or endpoint.shared_configuration_override is None:
        sources.insert(0, (group.shared_configuration, f"{group_path}.{SHARED}"))
    for data, data_path in sources:
        if data is None:
            continue
        cleaned, dropped = drop_meaningless(KafkaShared, data, data_path)
        read(KafkaShared, cleaned, data_path)
        if isinstance(cleaned, Mapping):
            parts.append(cleaned)
        ignored += dropped
    merged: Mapping[str, Any] = {}
    for part in parts:
        merged = _merged(merged, part)
    return read(KafkaShared, merged, f"{path}.{OVERRIDE}"), ignored


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        underneath = result.get(key)
        if isinstance(underneath, Mapping) and isinstance(value, Mapping):
            result[key] = _merged(underneath, value)
        else:
            result[key] = value
    return result


def _refuse_same_names(groups: Sequence[KafkaGroup]) -> None:
    paths: dict[str, str] = {}
    for group in groups:
        # An endpoint may have the same name as its group, because both names then mean the same topic.
        names = [(group.name, group.path), *((e.name, e.path) for e in group.endpoints if e.name != group.name)]
        for name, path in names:
            if name in paths:
                raise ConfigurationError(f"{path}.name: {shown(name)} is taken by {paths[name]}; names are unique")
            paths[name] = path
