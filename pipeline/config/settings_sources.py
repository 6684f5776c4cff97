"""Where settings come from: the environment, and the YAML file that WEBHOOKS_CONFIG names."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from pipeline.config.documents import read_document
from pipeline.config.validation_messages import nearest
from pipeline.core.errors import ConfigurationError
from pipeline.core.shown import kind

PREFIX: Final = "WEBHOOKS_"
CONFIG: Final = f"{PREFIX}CONFIG"

_FOREIGN: Final = re.compile(
    # Kubernetes tells every container of every service (a service "webhooks" would be WEBHOOKS_SERVICE_HOST),
    r"WEBHOOKS_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
    # and the tests have names of their own.
    r"|WEBHOOKS_TEST_\w+"
)


class EnvironmentSource(PydanticBaseSettingsSource):
    """The variables with the prefix.

    Attributes:
        config_path: the file that WEBHOOKS_CONFIG names, None without it.
    """

    def __init__(self, settings_cls: type[BaseSettings], environ: Mapping[str, str]) -> None:
        super().__init__(settings_cls)
        self._variables = {name: value for name, value in environ.items() if name.startswith(PREFIX)}
        path = self._variables.pop(CONFIG, "")
        self.config_path = Path(path) if path else None

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Part of the protocol of sources; `__call__` gives all fields at once."""
        del field
        return self._variables.get(f"{PREFIX}{field_name.upper()}"), field_name, False

    def __call__(self) -> dict[str, Any]:
        """The values that are set, by the names of their fields."""
        known = {f"{PREFIX}{name.upper()}": name for name in self.settings_cls.model_fields}
        unknown = [name for name in self._variables if name not in known and not _FOREIGN.fullmatch(name)]
        if unknown:
            raise ConfigurationError(
                [f"{name}: unknown setting; {nearest(name, [*known, CONFIG])}" for name in unknown]
            )
        # An empty variable is one that is not set: compose files and unit files can't leave one out.
        return {known[name]: value for name, value in self._variables.items() if name in known and value != ""}


class FileSource(PydanticBaseSettingsSource):
    """The YAML file: the same names, in any case, with or without the prefix."""

    def __init__(self, settings_cls: type[BaseSettings], path: Path | None) -> None:
        super().__init__(settings_cls)
        self._path = path

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Part of the protocol of sources; `__call__` gives all fields at once."""
        del field
        return self().get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        """The values that are set, by the names of their fields."""
        if self._path is None:
            return {}
        document = read_document(self._path)
        if not isinstance(document, Mapping):
            raise ConfigurationError(f"{self._path}: must be an object, not {kind(document)}")
        known = {name.upper(): name for name in self.settings_cls.model_fields}
        values: dict[str, Any] = {}
        problems: list[str] = []
        for key, value in document.items():
            name = str(key).upper().removeprefix(PREFIX)
            if name not in known:
                problems.append(f"{self._path}: {key}: unknown setting; {nearest(name, list(known))}")
            elif known[name] in values:
                problems.append(f"{self._path}: {key}: stands twice")
            elif value is not None:
                values[known[name]] = value
        if problems:
            raise ConfigurationError(problems)
        return values
