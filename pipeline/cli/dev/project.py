"""Settings and a definition for `webhooks dev`, also written to files for the other commands."""

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from cryptography.fernet import Fernet
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from pipeline.config.definition import Definition, parse_definition
from pipeline.config.kafka_endpoints import EMBEDDED
from pipeline.config.settings import Settings

SOURCE: Final = "events"
DEAD_LETTERS: Final = "events-dlq"
PARTITIONS: Final = 3
LOOPBACK: Final = "127.0.0.1"
LOOPBACK_NETWORK: Final = "127.0.0.0/8"


class DevSettings(Settings):
    """Settings from arguments only, because the settings in the environment are for other workers."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  # the signature is pydantic's, here and below
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments are the only source."""
        return (init_settings,)


@dataclass(frozen=True, slots=True)
class Project:
    """An application on an embedded broker.

    Attributes:
        config: the path of a settings file. If WEBHOOKS_CONFIG is set to it, other commands reach the embedded broker.
    """

    settings: Settings
    definition: Definition
    config: Path


def create_project(folder: Path, bootstrap: str, *, web_port: int, log_level: str) -> Project:
    """Write settings and definition to *folder*, with a new secret key and admin token.

    Args:
        folder: a directory that no other user can read.
        bootstrap: the address of the embedded broker.
        web_port: the port of the pages.
        log_level: the value of WEBHOOKS_LOG_LEVEL.
    """
    document = _definition(bootstrap)
    api = folder / "definition.yaml"
    api.write_text(yaml.safe_dump(document, sort_keys=False))
    values: dict[str, Any] = {
        "api": str(api),
        "app": "dev",
        "secret_keys": Fernet.generate_key().decode(),
        "allow_private_networks": LOOPBACK_NETWORK,
        "web_port": web_port,
        "admin_token": secrets.token_urlsafe(12),
        "data_dir": str(folder / "data"),
        "log_level": log_level,
    }
    config = folder / "webhooks.yaml"
    config.touch(mode=0o600)
    config.write_text(yaml.safe_dump(values, sort_keys=False))
    return Project(DevSettings(**values), parse_definition(document), config)


def _definition(bootstrap: str) -> dict[str, Any]:
    entrypoint = {
        "type": "webhook-advanced",
        "routing": "match",
        "qos": "at-least-once",
        "dlq": {"endpoint": "dead-letters"},
        "configuration": {},
    }
    consumer = {"enabled": True, "topics": [SOURCE], "autoOffsetReset": "earliest"}
    producer = {"enabled": True, "topics": [DEAD_LETTERS]}
    return {
        "name": "dev",
        "listeners": [{"type": "subscription", "entrypoints": [entrypoint]}],
        "endpointGroups": [
            _group("source", bootstrap, {"consumer": consumer}),
            _group("dead-letters", bootstrap, {"producer": producer}),
        ],
    }


def _group(name: str, bootstrap: str, use: dict[str, Any]) -> dict[str, Any]:
    endpoint = {
        "name": f"{name}-endpoint",
        "type": "kafka",
        "configuration": {"bootstrapServers": f"{EMBEDDED}{bootstrap}"},
        "sharedConfigurationOverride": use,
    }
    return {"name": name, "type": "kafka", "endpoints": [endpoint]}
