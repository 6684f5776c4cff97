"""Reads the API definition: source topics, how their events are delivered, and where undeliverable events go.

`load_definition()` reads a subset of Gravitee v4 definitions (docs/configuration.md) from YAML or JSON into the values
that the rest of the pipeline uses. The wire models are in config/definition_schema.py.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.config.definition_schema import (
    WEBHOOK_TYPES,
    Api,
    Entrypoint,
    EntrypointConfiguration,
    Http,
    Listener,
    ProxyOptions,
    Recovery,
)
from pipeline.config.gravitee.losses import losses
from pipeline.config.gravitee.shapes import api_of, documents_of
from pipeline.config.kafka_endpoints import KafkaGroup, find_dead_letters, find_source, read_groups
from pipeline.config.routing import unsaid_routing
from pipeline.config.schema import drop_meaningless, read
from pipeline.config.settings import Settings
from pipeline.config.validation_messages import nearest
from pipeline.core.errors import ConfigurationError
from pipeline.core.shown import kind, shown
from pipeline.core.subscription import HttpLimits, Interrupt, Proxy, Qos, RetryPolicy, Routing
from pipeline.kafka.connection import parse_bootstrap_servers
from pipeline.kafka.topics import DeadLetterTopic, Source, written_topics

__all__ = ["Definition", "configured_definition", "load_definition", "parse_definition"]


@dataclass(frozen=True, slots=True)
class Definition:
    """The content of an API definition.

    Attributes:
        stated_routing: the `routing` in the definition or the setting; None if neither has one. Commands that only show
            subscriptions do not need it.
        require_filter: whether a subscription must have a filter or topics; only with `match`.
        probes: when subscriptions in FAILURE are probed (core/probing.py); None if never.
        qos: the level of subscriptions that do not name one.
        http: the limits of the entrypoint. At an ordered level, they allow one connection.
        max_concurrent_connections: the configured number, for subscriptions that have another level.
        proxy: the proxy for callbacks and token endpoints, if any.
        use_system_proxy: whether the proxies of the environment are used.
        key_store_dir: the directory of key stores that a subscription may name by path, from the settings; None if not
            set.
        entrypoint: the path of the entrypoint, for errors.
        ignored: the paths of fields without effect, for one log line.
    """

    name: str
    source: Source
    dlq: DeadLetterTopic | None = None
    stated_routing: Routing | None = None
    require_filter: bool = False
    probes: RetryPolicy | None = None
    qos: Qos = Qos.AUTO
    interrupt: Interrupt = field(default_factory=Interrupt)
    http: HttpLimits = field(default_factory=HttpLimits)
    max_concurrent_connections: int = 5
    proxy: Proxy | None = None
    use_system_proxy: bool = False
    key_store_dir: Path | None = None
    entrypoint: str = "entrypoint"
    ignored: tuple[str, ...] = ()

    @property
    def routing(self) -> Routing:
        """How an event finds its subscriptions.

        Raises:
            ConfigurationError: neither the definition nor the setting has a routing. There is no default: a wrong
                routing would send every event to every receiver, or deliver none.
        """
        if self.stated_routing is None:
            raise unsaid_routing(self.entrypoint)
        return self.stated_routing

    def source_topic(self, topic: str | None, path: str) -> str:
        """The source topic with this name; without a name, the only source topic.

        Args:
            topic: the name, or None.
            path: where the name was given, for errors.

        Raises:
            ConfigurationError: there is no such source topic; or *topic* is None and there are several.
        """
        known = self.source.topics
        if topic is None and len(known) > 1:
            raise ConfigurationError(f"{path}: is required, because there are several: {', '.join(known)}")
        if topic is not None and topic not in known:
            raise ConfigurationError(f"{path}: {shown(topic)} is not a source topic; {nearest(topic, known)}")
        return topic or known[0]


def configured_definition(settings: Settings) -> Definition:
    """The definition that the settings name, with the routing, brokers and key store directory of the settings.

    Raises:
        ConfigurationError: see `load_definition`; the definition and the settings contradict each other; or a source
            topic is a topic of the pipeline, so that workers would deliver what they write about these deliveries.
    """
    definition = load_definition(settings.api, settings.bootstrap_servers, settings.key_store_dir)
    for topic in definition.source.topics:
        if topic in written_topics(settings.app):
            raise ConfigurationError(
                f"{settings.api}: source topic {shown(topic)} is written by the workers of this application; name "
                "a topic that they do not write, or set another WEBHOOKS_APP"
            )
    if settings.routing is None:
        return definition
    routing, stated = Routing(settings.routing), definition.stated_routing
    if stated not in {None, routing}:
        raise ConfigurationError(
            f"WEBHOOKS_ROUTING: {routing} contradicts {settings.api}, which says routing: {stated}; remove one of them"
        )
    return replace(definition, stated_routing=routing)


def load_definition(path: Path, bootstrap_servers: str | None = None, key_store_dir: Path | None = None) -> Definition:
    """The definition in a YAML or JSON file, in any form that config/gravitee/shapes.py recognises.

    Args:
        path: the path of the file.
        bootstrap_servers: see `parse_definition`.
        key_store_dir: the setting, which the definition stores.

    Raises:
        ConfigurationError: the file can't be read or does not contain exactly one API; or see `parse_definition`.
    """
    api = api_of(documents_of(path), path)
    try:
        definition = parse_definition(api.document, bootstrap_servers)
    except ConfigurationError as error:
        raise ConfigurationError([f"{api.location}: {problem}" for problem in error.problems]) from None
    return replace(
        definition,
        key_store_dir=key_store_dir,
        entrypoint=f"{api.location}: {definition.entrypoint}",
        ignored=(*api.ignored, *definition.ignored),
    )


def parse_definition(
    document: object, bootstrap_servers: str | None = None, accepted: Container[str] = ()
) -> Definition:
    """The definition in a parsed YAML or JSON document.

    Args:
        document: plain data.
        bootstrap_servers: brokers from the setting BOOTSTRAP_SERVERS. They replace the brokers of the source topics,
            and those of the dead-letter topic if the definition has equal brokers for both.
        accepted: names of losses (config/gravitee/losses.py) that are not errors.

    Raises:
        ConfigurationError: a field is missing, unknown, out of range, of the wrong type or without effect, or there is
            a loss that was not accepted; one sentence per mistake, each with the path of the field.
    """
    if not isinstance(document, Mapping):
        raise ConfigurationError(f"document: must be an object, not {kind(document)}")
    cleaned, ignored = drop_meaningless(Api, document)
    api = read(Api, cleaned)
    if lost := [str(each) for each in losses(document) if each.name not in accepted]:
        raise ConfigurationError(lost)
    entrypoint, path, more = _find_entrypoint(api.listeners)
    ignored += more
    groups, more = read_groups(api.endpoint_groups)
    ignored += more
    source, dlq = _relocated(*_find_topics(groups, entrypoint, path), bootstrap_servers)
    if dlq and dlq.topic in source.topics and dlq.connection.bootstrap_servers == source.connection.bootstrap_servers:
        raise ConfigurationError(f"{path}.dlq.endpoint: must not lead to the source topic {shown(dlq.topic)}")
    return replace(_definition(api.name, source, dlq, entrypoint), entrypoint=path, ignored=tuple(ignored))


def _find_topics(
    groups: Sequence[KafkaGroup], entrypoint: Entrypoint, path: str
) -> tuple[Source, DeadLetterTopic | None]:
    """The source and the topic for dead letters. If both are wrong, the error names both."""
    source, dlq = None, None
    problems: list[str] = []
    try:
        source = find_source(groups)
    except ConfigurationError as error:
        problems += error.problems
    try:
        dlq = find_dead_letters(groups, entrypoint.dlq.endpoint, entrypoint.type, path) if entrypoint.dlq else None
    except ConfigurationError as error:
        problems += error.problems
    if source is None or problems:
        raise ConfigurationError(problems)
    return source, dlq


def _definition(name: str, source: Source, dlq: DeadLetterTopic | None, entrypoint: Entrypoint) -> Definition:
    configuration = entrypoint.configuration or EntrypointConfiguration.model_validate({})
    qos = Qos(entrypoint.qos)
    http = configuration.http or Http.model_validate({})
    proxy = configuration.proxy
    return Definition(
        name=name,
        source=source,
        dlq=dlq,
        stated_routing=None if entrypoint.routing is None else Routing(entrypoint.routing),
        require_filter=entrypoint.require_filter,
        probes=_probes(entrypoint.recovery or Recovery.model_validate({})),
        qos=qos,
        interrupt=Interrupt(
            on_server_error=configuration.interrupt_consumption_on_server_error,
            on_exception=configuration.interrupt_consumption_on_exception,
            on_gone=configuration.interrupt_consumption_on_gone,
        ),
        http=HttpLimits(
            connect_timeout_seconds=http.connect_timeout / 1000,
            read_timeout_seconds=http.read_timeout / 1000,
            idle_timeout_seconds=http.idle_timeout / 1000,
        ),
        max_concurrent_connections=http.max_concurrent_connections,
        proxy=_proxy(proxy),
        use_system_proxy=proxy is not None and proxy.enabled and proxy.use_system_proxy,
    )


def _probes(recovery: Recovery) -> RetryPolicy | None:
    if not recovery.probe:
        return None
    return RetryPolicy(
        initial_delay_seconds=recovery.initial_delay_seconds,
        max_delay_seconds=recovery.max_delay_seconds,
        max_elapsed_seconds=recovery.max_elapsed_seconds,
    )


def _proxy(options: ProxyOptions | None) -> Proxy | None:
    if options is None or not options.enabled or options.use_system_proxy or options.host is None:
        return None
    host = f"[{options.host}]" if ":" in options.host else options.host
    return Proxy(f"{options.type.lower()}://{host}:{options.port}", options.username or None, options.password)


def _relocated(
    source: Source, dlq: DeadLetterTopic | None, bootstrap_servers: str | None
) -> tuple[Source, DeadLetterTopic | None]:
    if bootstrap_servers is None:
        return source, dlq
    before = source.connection.bootstrap_servers
    servers = parse_bootstrap_servers(bootstrap_servers, "BOOTSTRAP_SERVERS")
    source = replace(source, connection=replace(source.connection, bootstrap_servers=servers, embedded=False))
    if dlq is not None and dlq.connection.bootstrap_servers == before:
        dlq = replace(dlq, connection=replace(dlq.connection, bootstrap_servers=servers, embedded=False))
    return source, dlq


def _find_entrypoint(listeners: list[object]) -> tuple[Entrypoint, str, list[str]]:
    """The webhook entrypoint, its path, and the paths of the ignored listeners."""
    found: list[tuple[Entrypoint, str]] = []
    ignored: list[str] = []
    problems: list[str] = []
    for index, data in enumerate(listeners):
        path = f"listeners[{index}]"
        cleaned, dropped = drop_meaningless(Listener, data, path)
        if _is_other_listener(cleaned):
            problems += _misplaced_webhooks(cleaned, path)
            ignored.append(path)
            continue
        ignored += dropped
        listener = read(Listener, cleaned, path)
        if listener.type.lower() != "subscription":
            problems.append(f"{path}.type: {shown(listener.type)} is not a listener; allowed: subscription")
            continue
        entrypoints, dropped = _read_entrypoints(listener, path)
        found += entrypoints
        ignored += dropped
    if not problems and len(found) != 1:
        problems = [f"listeners: {_how_many(found)}"]
    if problems:
        raise ConfigurationError(problems)
    return *found[0], ignored


def _read_entrypoints(listener: Listener, path: str) -> tuple[list[tuple[Entrypoint, str]], list[str]]:
    found: list[tuple[Entrypoint, str]] = []
    ignored: list[str] = []
    for index, data in enumerate(listener.entrypoints):
        entrypoint_path = f"{path}.entrypoints[{index}]"
        cleaned, dropped = drop_meaningless(Entrypoint, data, entrypoint_path)
        ignored += dropped
        found.append((read(Entrypoint, cleaned, entrypoint_path), entrypoint_path))
    return found, ignored


def _how_many(found: list[tuple[Entrypoint, str]]) -> str:
    if not found:
        return "must contain one listener of type subscription with an entrypoint of type webhook"
    paths = ", ".join(f"{path} ({entrypoint.type})" for entrypoint, path in found)
    return f"there is more than one webhook entrypoint: {paths}; exactly one is allowed"


_OTHER_LISTENERS = {"http", "tcp", "kafka"}


def _is_other_listener(data: object) -> bool:
    type_ = data.get("type") if isinstance(data, Mapping) else None
    return isinstance(type_, str) and type_.lower() in _OTHER_LISTENERS


def _misplaced_webhooks(data: object, path: str) -> list[str]:
    entrypoints = data.get("entrypoints") if isinstance(data, Mapping) else None
    return [
        f"{path}.entrypoints[{index}].type: {entrypoint['type']} needs a listener of type subscription"
        for index, entrypoint in enumerate(entrypoints if isinstance(entrypoints, list) else ())
        if isinstance(entrypoint, Mapping) and entrypoint.get("type") in WEBHOOK_TYPES
    ]
