"""The settings of a process: environment variables with the prefix WEBHOOKS_, or the same names in a YAML file.

No other module reads the environment. WEBHOOKS_CONFIG is the path of the file. The environment takes precedence.
"""

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from cryptography.fernet import Fernet
from pydantic import ByteSize, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, InitSettingsSource, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from pipeline.config.model_fields import split_url
from pipeline.config.schema import problem
from pipeline.config.settings_sources import PREFIX, read_environment, read_file
from pipeline.config.validation_messages import sentence
from pipeline.core.errors import ConfigurationError
from pipeline.core.shown import shown
from pipeline.core.webhook_ids import WebhookIds
from pipeline.http.signature import Signer
from pipeline.kafka.connection import parse_bootstrap_servers
from pipeline.observability.logs import LogFormat, LogLevel

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MIB: Final = 1024 * 1024
_LAST_PORT: Final = 65_535
_HOW_TO_GET: Final = {
    "api": "the file that names the topics to deliver, a YAML or JSON file; docs/ten-minutes.md shows one to begin "
    "with, and webhooks dev runs without one",
    "secret_keys": "the keys that encrypt the secrets of subscriptions, the same for all workers and commands; make "
    "one with: python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'",
}
"""Explanations of the settings that have no default."""


class Settings(BaseSettings):
    """All settings, validated and frozen.

    `Settings()` reads the environment and the file. Arguments take precedence over both.

    Raises:
        ConfigurationError: a name is unknown, a value is missing or not allowed; one sentence per mistake.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix=PREFIX, hide_input_in_errors=True)

    api: Path = Field(description="The API definition, a YAML or JSON file.")
    app: str = Field(
        "webhooks",
        pattern=r"^[A-Za-z0-9._-]+$",
        max_length=200,
        description="The name of the application: its consumer group, and the prefix of its topics.",
    )
    bootstrap_servers: str | None = Field(
        None,
        description=(
            "Kafka brokers (host:port, separated by commas) for the source topics, instead of those in the definition. "
            "If the definition has the same brokers for the dead-letter topic, they are replaced too."
        ),
    )
    routing: Literal["key", "match"] | None = Field(
        None,
        description=(
            "How an event finds its subscriptions if the definition has no routing: key or match. There is no default."
        ),
    )
    secret_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        min_length=1,
        description="Fernet keys, separated by commas. The first key encrypts secrets at rest; every key decrypts.",
    )
    allow_private_networks: Annotated[tuple[Network, ...], NoDecode] = Field(
        (), description="Private networks that callbacks may reach, as CIDRs separated by commas; none by default."
    )
    name_servers: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Addresses of name servers for callbacks, separated by commas; by default the system's."
    )
    web_bind: str = Field("127.0.0.1", min_length=1, description="The address that the web server listens on.")
    web_port: int = Field(
        6066, ge=1, le=65535, description="The port of the web server; each worker on a host needs its own."
    )
    admin_token: SecretStr | None = Field(
        None, min_length=1, description="The bearer token that gives access to the API and the pages."
    )
    admin_jwks: str | None = Field(
        None,
        min_length=1,
        description="The JWK set (a URL or a file) with the public keys of signed tokens for the API.",
    )
    admin_tenant_claim: str | None = Field(
        None,
        min_length=1,
        description="The name of the claim that limits a signed token to subscriptions with certain metadata.",
    )
    metrics_token: SecretStr | None = Field(
        None, min_length=1, description="A bearer token that gives access to /metrics only."
    )
    key_store_dir: Path | None = Field(
        None, description="The directory of key stores that subscriptions may name by path. Other files are never read."
    )
    data_dir: Path = Field(Path("data"), description="The directory for local state, which may be lost without harm.")
    max_in_flight: int = Field(
        512, ge=1, le=65535, description="The largest number of concurrent requests of the worker."
    )
    lane_events: int = Field(
        1000, ge=1, le=1_000_000, description="The largest number of events in memory per subscription and partition."
    )
    lane_bytes: ByteSize = Field(
        ByteSize(4 * MIB),
        ge=1024,
        description="The largest number of bytes in memory per subscription and partition, for example 4MiB.",
    )
    worker_bytes: ByteSize = Field(
        ByteSize(256 * MIB),
        ge=1024,
        description="The largest number of bytes in memory for all events of the worker, for example 256MiB.",
    )
    hold_seconds: float = Field(
        5.0,
        ge=0,
        le=3600,
        description=(
            "How long an event may hold back its partition before its subscription leaves the stream and reads the log "
            "separately."
        ),
    )
    claim_events: int = Field(
        1,
        ge=1,
        le=100,
        description=(
            "At-most-once: how many events of a subscription a worker claims at a time, and may lose if it is killed."
        ),
    )
    drain_seconds: float = Field(
        10.0, ge=0, le=20, description="How long a stop or a rebalance waits for requests under way."
    )
    session_seconds: float = Field(
        6.0,
        ge=3,
        le=40,
        description=(
            "After this time without a heartbeat, a worker's partitions are assigned to others. Brokers limit this "
            "time (group.min.session.timeout.ms)."
        ),
    )
    attempt_log: Literal["all", "failures", "off"] = Field(
        "all",
        description=(
            "Which attempts are logged in the topic <app>.attempts: all; failures (all but deliveries at the "
            "first attempt); off."
        ),
    )
    instance_id: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9._-]+$",
        max_length=200,
        description=(
            "A unique id of this worker in its consumer group (group.instance.id). If it comes back within "
            "WEBHOOKS_SESSION_SECONDS, it keeps its partitions."
        ),
    )
    notify_url: SecretStr | None = Field(
        None,
        description=(
            "The http(s) URL to which the notifications in <app>.events are also posted. Its address must be "
            "allowed, like that of a callback."
        ),
    )
    notify_signing_secret: SecretStr | None = Field(
        None,
        description=(
            "The secret that signs requests to WEBHOOKS_NOTIFY_URL (Standard Webhooks): whsec_ or whsk_ and base64."
        ),
    )
    log_format: LogFormat = Field("console", description="The format of log lines.")
    log_level: LogLevel = Field("INFO", description="The lowest level that is logged.")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            problems = [_sentence(details) for details in error.errors(include_url=False)]
        else:
            return
        raise ConfigurationError(problems)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # replaced, because it ignores unknown names
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # not used, because WEBHOOKS_CONFIG names the only file
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The sources by precedence: arguments, the environment, the file."""
        fields = settings_cls.model_fields
        environment, path = read_environment(fields, os.environ)
        file = {} if path is None else read_file(fields, path)
        return init_settings, InitSettingsSource(settings_cls, environment), InitSettingsSource(settings_cls, file)

    @property
    def webhook_ids(self) -> WebhookIds:
        """Seals and verifies the ids and addressees that the pipeline writes to the source topic."""
        return WebhookIds.from_secret_keys(key.get_secret_value() for key in self.secret_keys)

    @field_validator("secret_keys", "name_servers", mode="before")
    @classmethod
    def _separated(cls, value: object) -> object:
        return _parts(value) if isinstance(value, str) else value

    @field_validator("allow_private_networks", mode="before")
    @classmethod
    def _networks(cls, value: object) -> object:
        if isinstance(value, str):
            value = _parts(value)
        if not isinstance(value, (list, tuple)):
            return value
        return tuple(_network(part) if isinstance(part, str) else part for part in value)

    @field_validator("name_servers")
    @classmethod
    def _are_name_servers(cls, servers: tuple[str, ...]) -> tuple[str, ...]:
        for server in servers:
            if not _is_name_server(server):
                raise problem(f"{shown(server)} is not a name server; allowed: an address, with :port if it isn't 53")
        return servers

    @field_validator("secret_keys")
    @classmethod
    def _are_fernet_keys(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for number, key in enumerate(keys, 1):
            try:
                Fernet(key.get_secret_value())
            except ValueError:
                raise problem(f"key {number} is not a Fernet key (32 bytes in URL-safe base64)") from None
        return keys

    @field_validator("notify_url")
    @classmethod
    def _is_url(cls, value: SecretStr | None) -> SecretStr | None:
        parts = None if value is None else split_url(value.get_secret_value())
        if value is not None and (parts is None or parts.scheme not in {"http", "https"} or not parts.hostname):
            raise problem("is not an http or https URL")
        return value

    @field_validator("notify_signing_secret")
    @classmethod
    def _is_signing_secret(cls, value: SecretStr | None) -> SecretStr | None:
        try:
            Signer.from_secrets(() if value is None else (value.get_secret_value(),))
        except ConfigurationError as error:
            raise problem(str(error).partition(": ")[2]) from None
        return value

    @field_validator("bootstrap_servers")
    @classmethod
    def _are_servers(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                parse_bootstrap_servers(value, "")
            except ConfigurationError as error:
                raise problem(error.problems[0].removeprefix(": ")) from None
        return value

    @field_validator("admin_jwks")
    @classmethod
    def _is_trustworthy(cls, value: str | None) -> str | None:
        if value is not None and "://" in value and not _is_trustworthy(value):
            raise problem("must be a file or an https URL without user and password; http for loopback only")
        return value

    @field_validator("routing", "attempt_log", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @model_validator(mode="after")
    def _lane_fits_worker(self) -> "Settings":
        if self.lane_bytes > self.worker_bytes:
            raise problem(f"{int(self.lane_bytes)} is more than WORKER_BYTES, {int(self.worker_bytes)}", "lane_bytes")
        return self

    def effective(self) -> dict[str, str]:
        """Every setting by name, for the log at start-up. For a secret, the value shows only whether it is set."""
        return {f"{PREFIX}{name.upper()}": _effective(getattr(self, name)) for name in type(self).model_fields}


def environment_with(**settings: str) -> dict[str, str]:
    """The environment for a child process: the environment of this process, with some settings changed."""
    return {**os.environ, **{f"{PREFIX}{name.upper()}": text for name, text in settings.items()}}


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise problem(f"{shown(text)} is not a network in CIDR notation, such as 10.0.0.0/8: {error}") from None


def _is_name_server(text: str) -> bool:
    host, port = text, "53"
    if text.count(":") == 1 or text.startswith("["):
        host, _, port = text.rpartition(":")
    try:
        ipaddress.ip_address(host[1:-1] if host[:1] == "[" and host[-1:] == "]" else host)
        return port.isdecimal() and 0 < int(port) <= _LAST_PORT
    except ValueError:
        return False


def _is_trustworthy(url: str) -> bool:
    """Whether an answer from *url* can come only from the host in the URL."""
    parts = split_url(url)
    if parts is None or not parts.hostname or "@" in parts.netloc:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _sentence(details: ErrorDetails) -> str:
    # Errors use the name that a setting has in the environment.
    name, _, rest = sentence(Settings, details).partition(":")
    hint = f": {_HOW_TO_GET[name]}" if details["type"] == "missing" else ""
    return f"{PREFIX}{name.upper()}:{rest}{hint}"


def _effective(value: object) -> str:
    match value:
        case None:
            return "not set"
        case SecretStr() | (SecretStr(), *_):
            return "set"
        case tuple():
            return ",".join(map(str, value)) or "none"
        case _:
            return str(value)


def otel_environment() -> Mapping[str, str]:
    """The standard variables of OpenTelemetry (observability/tracing.py)."""
    return {name: value for name, value in os.environ.items() if name.startswith("OTEL_")}
