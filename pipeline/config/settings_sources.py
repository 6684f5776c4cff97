"""Reads settings from the environment and from the YAML file that WEBHOOKS_CONFIG names."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from pipeline.config.documents import read_document
from pipeline.config.validation_messages import nearest
from pipeline.core.errors import ConfigurationError
from pipeline.core.shown import kind

PREFIX: Final = "WEBHOOKS_"
CONFIG: Final = f"{PREFIX}CONFIG"

_FOREIGN: Final = re.compile(
    # Kubernetes sets variables about every service in every container (WEBHOOKS_SERVICE_HOST for a service "webhooks"),
    r"WEBHOOKS_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
    # and the tests have their own names.
    r"|WEBHOOKS_TEST_\w+"
)


def read_environment(fields: Iterable[str], environ: Mapping[str, str]) -> tuple[dict[str, str], Path | None]:
    """The values of the variables, by the names of *fields*, and the path in WEBHOOKS_CONFIG.

    Raises:
        ConfigurationError: a variable with the prefix is not a setting.
    """
    variables = {name: value for name, value in environ.items() if name.startswith(PREFIX)}
    path = variables.pop(CONFIG, "")
    known = {f"{PREFIX}{name.upper()}": name for name in fields}
    unknown = [name for name in variables if name not in known and not _FOREIGN.fullmatch(name)]
    if unknown:
        raise ConfigurationError([f"{name}: unknown setting; {nearest(name, [*known, CONFIG])}" for name in unknown])
    # An empty variable counts as unset, because compose files and unit files can't omit a variable.
    values = {known[name]: value for name, value in variables.items() if name in known and value != ""}
    return values, Path(path) if path else None


def read_file(fields: Iterable[str], path: Path) -> dict[str, Any]:
    """The values in the YAML file, by the names of *fields*. Keys may be in any case, with or without the prefix.

    Raises:
        ConfigurationError: the file can't be read, or contains an unknown or duplicate setting.
    """
    document = read_document(path)
    if not isinstance(document, Mapping):
        raise ConfigurationError(f"{path}: must be an object, not {kind(document)}")
    known = {name.upper(): name for name in fields}
    values: dict[str, Any] = {}
    problems: list[str] = []
    for key, value in document.items():
        name = str(key).upper().removeprefix(PREFIX)
        if name not in known:
            problems.append(f"{path}: {key}: unknown setting; {nearest(name, list(known))}")
        elif known[name] in values:
            problems.append(f"{path}: {key}: duplicate key")
        elif value is not None:
            values[known[name]] = value
    if problems:
        raise ConfigurationError(problems)
    return values
