"""The wire models of an API definition: the fields of a Gravitee v4 message API that have an effect here.

Each model has the names of all other v4 fields in `without_meaning`; definition.py reports these fields as ignored.
"""

from typing import Annotated, Any, ClassVar, Final, Literal, get_args

from pydantic import Field, field_validator, model_validator

from pipeline.config.kafka_security import Security
from pipeline.config.schema import Name, Secret, StrictModel, problem
from pipeline.core.socks_credentials import credentials_problem

MAX_CONCURRENT_CONNECTIONS = 20
EXPRESSION = "{#"

Milliseconds = Annotated[int, Field(ge=1, le=3_600_000)]
WebhookType = Literal["webhook", "webhook-advanced"]
WEBHOOK_TYPES: Final = get_args(WebhookType)

# fmt: off
_API_PARTS = frozenset({
    "allowMultiJwtOauth2Subscriptions", "allowedInApiProducts", "analytics", "apiVersion", "background",
    "backgroundUrl", "categories", "consoleNotificationConfiguration", "contextRef", "createdAt", "crossId",
    "definitionContext", "deployedAt", "deploymentState", "description",
    "disableMembershipNotifications", "environmentId", "errors", "failover", "flowExecution", "flows",
    "gravitee", "groupRefs", "groups", "hrid", "id", "labels", "lifecycleState", "links", "_links",
    "members", "metadata", "notificationsRefs", "notifyMembers", "organizationId", "originContext",
    "pages", "picture", "pictureUrl", "plans", "portalNavigation", "primaryOwner", "properties",
    "resources", "responseTemplates", "services", "state", "tags", "updatedAt", "version", "visibility",
    "workflowState",
})
_HTTP_PARTS = frozenset({
    "clearTextUpgrade", "followRedirects", "keepAlive", "keepAliveTimeout", "pipelining",
    "propagateClientAcceptEncoding", "useCompression", "version",
})
# fmt: on


def refuse_expression(text: str | None) -> str | None:
    """Return *text*, or raise an error if it contains Gravitee's expression language, which is not evaluated here."""
    if text is not None and EXPRESSION in text:
        raise problem("contains an expression ({#...}), which is not supported; write the value itself")
    return text


class Api(StrictModel):
    """The definition. Its listeners and groups are read one by one, by type."""

    without_meaning = _API_PARTS

    name: Name
    type: str = "MESSAGE"
    definition_version: str = "V4"
    listeners: Annotated[list[Any], Field(min_length=1)]
    endpoint_groups: Annotated[list[Any], Field(min_length=1)]

    @field_validator("type")
    @classmethod
    def _is_message_api(cls, value: str) -> str:
        if value.upper() != "MESSAGE":
            raise problem(f"{value!r} is not a kind of API that delivers webhooks; allowed: MESSAGE")
        return value

    @field_validator("definition_version")
    @classmethod
    def _is_v4(cls, value: str) -> str:
        if value.upper() not in {"V4", "4.0.0"}:
            raise problem(f"{value!r} is not supported; allowed: V4, 4.0.0")
        return value


class Http(StrictModel):
    """`http` of the entrypoint; times in milliseconds."""

    without_meaning = _HTTP_PARTS

    connect_timeout: Milliseconds = 3_000
    read_timeout: Milliseconds = 10_000
    idle_timeout: Milliseconds = 60_000
    max_concurrent_connections: Annotated[int, Field(ge=1, le=MAX_CONCURRENT_CONNECTIONS)] = 5


class ProxyOptions(StrictModel):
    """`proxy`: no proxy, the system's proxy, or the proxy described here."""

    enabled: bool = False
    use_system_proxy: bool = False
    type: Literal["HTTP", "SOCKS4", "SOCKS5"] = "HTTP"
    host: str | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    username: str | None = None
    password: Secret | None = None

    _no_expressions = field_validator("host", "username")(refuse_expression)

    @model_validator(mode="after")
    def _is_complete(self) -> "ProxyOptions":
        if not self.enabled or self.use_system_proxy:
            return self
        if not self.host:
            raise problem("is required when the proxy is enabled", "host")
        if self.port is None:
            raise problem("is required when the proxy is enabled", "port")
        if self.type != "HTTP":
            wrong = credentials_problem(4 if self.type == "SOCKS4" else 5, self.username, self.password)
            if wrong is not None:
                field, sentence = wrong
                raise problem(sentence, field)
        return self


class EntrypointConfiguration(StrictModel):
    """`configuration` of the webhook entrypoint."""

    without_meaning = frozenset({"logging"})

    interrupt_consumption_on_server_error: bool = True
    interrupt_consumption_on_exception: bool = True
    interrupt_consumption_on_gone: bool = False
    http: Http | None = None
    proxy: ProxyOptions | None = None


class Dlq(StrictModel):
    """The name of the endpoint or group to which undeliverable events are written."""

    endpoint: Name


class Recovery(StrictModel):
    """How a subscription recovers from FAILURE without an operator (core/probing.py)."""

    probe: bool = True
    initial_delay_seconds: Annotated[float, Field(ge=1, le=86_400)] = 60
    max_delay_seconds: Annotated[float, Field(ge=1, le=86_400)] = 3_600
    max_elapsed_seconds: Annotated[float, Field(ge=1, le=31_536_000)] = 259_200

    @model_validator(mode="after")
    def _starts_below_its_end(self) -> "Recovery":
        if self.initial_delay_seconds > self.max_delay_seconds:
            raise problem(
                f"{self.initial_delay_seconds:g} is more than maxDelaySeconds, {self.max_delay_seconds:g}",
                "initialDelaySeconds",
            )
        return self


class Entrypoint(StrictModel):
    """The webhook entrypoint."""

    without_meaning = frozenset({"name"})

    type: WebhookType
    qos: Literal["none", "auto", "at-most-once", "at-least-once"] = "auto"
    routing: Literal["key", "match"] | None = None
    require_filter: bool = False
    recovery: Recovery | None = None
    dlq: Dlq | None = None
    configuration: EntrypointConfiguration | None = None

    @field_validator("qos", "routing", mode="before")
    @classmethod
    def _any_spelling(cls, value: object) -> object:
        # The management API writes AT_LEAST_ONCE, Gravitee's documentation At-Least-Once.
        return value.lower().replace("_", "-") if isinstance(value, str) else value

    @model_validator(mode="after")
    def _filters_are_for_match(self) -> "Entrypoint":
        if self.require_filter and self.routing == "key":
            raise problem("is only allowed with routing: match", "requireFilter")
        return self


class Listener(StrictModel):
    """The subscription listener. Its entrypoints are read one by one, by type."""

    without_meaning = frozenset({"servers"})

    type: str
    entrypoints: Annotated[list[Any], Field(min_length=1)]


class Topics(StrictModel):
    """The fields that `consumer` and `producer` have in common."""

    enabled: bool = False
    topics: list[Name] | None = None

    @field_validator("topics")
    @classmethod
    def _no_expressions(cls, value: list[str] | None) -> list[str] | None:
        for topic in value or ():
            refuse_expression(topic)
        return value


class Consumer(Topics):
    """The topics that are read."""

    without_meaning = frozenset(
        {"attributes", "checkTopicExistence", "encodeMessageId", "offsetUntilTimestamp", "removeConfluentHeader"}
    )

    auto_offset_reset: Literal["earliest", "latest"] = "latest"
    isolation_level: Literal["read_committed", "read_uncommitted"] = "read_committed"
    topic_pattern: str | None = None

    @field_validator("topic_pattern")
    @classmethod
    def _no_pattern(cls, value: str | None) -> str | None:
        if value:
            # Faust accepts a pattern and does not follow it.
            raise problem("is not supported; name the topics in topics")
        return value


class Producer(Topics):
    """The topic that is written."""

    without_meaning: ClassVar[frozenset[str]] = frozenset({"compressionType"})


class KafkaShared(StrictModel):
    """`sharedConfiguration` of a Kafka group, or `sharedConfigurationOverride` of an endpoint."""

    security: Security | None = None
    consumer: Consumer | None = None
    producer: Producer | None = None


class KafkaEndpointConfiguration(StrictModel):
    """`configuration` of a Kafka endpoint."""

    bootstrap_servers: Name

    _no_expressions = field_validator("bootstrap_servers")(refuse_expression)


class Endpoint(StrictModel):
    """An endpoint of any type."""

    without_meaning = frozenset({"secondary", "services", "tenants", "weight"})

    name: Name
    type: str
    inherit_configuration: bool | None = None
    configuration: Any = None
    shared_configuration_override: Any = None


class EndpointGroup(StrictModel):
    """A group of endpoints with their shared configuration."""

    without_meaning = frozenset({"loadBalancer", "services"})

    name: Name
    type: str
    shared_configuration: Any = None
    endpoints: Annotated[list[Endpoint], Field(min_length=1)]
