"""Makes the reference of settings and fields from the models: values, units and defaults.

`python -m tests.support.reference` writes the table of docs/settings.md, and the columns "values" and "default" of the
tables in docs/configuration.md. tests/meta/test_fields_table.py compares them.
"""

import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from pipeline.config.definition_schema import Endpoint, Entrypoint, KafkaEndpointConfiguration, KafkaShared
from pipeline.config.model_fields import is_secret, is_url, locate
from pipeline.config.settings import Settings
from pipeline.config.settings_sources import CONFIG, PREFIX
from pipeline.subscriptions.schema import WireSubscription

DOCS: Final = Path(__file__).parents[2] / "docs"
SETTINGS: Final = DOCS / "settings.md"
FIELDS: Final = DOCS / "configuration.md"
BEGIN: Final = "<!-- settings: written by `python -m tests.support.reference` -->"
END: Final = "<!-- end of settings -->"

OPTIONS: Final = "configuration.entrypointConfiguration."
_OPAQUE: Final = {"configuration", "sharedConfigurationOverride"}
"""Fields of an endpoint whose models depend on its type."""
_UNITS: Final = {"seconds": "s", "timeout": "ms", "bytes": "bytes"}
_ROW: Final = re.compile(
    r"^\| `(?P<name>[^`]+)`(?P<ours>(?: ⁺)?) \| (?P<means>[^|]+?) \|[^|]*\|[^|]*\|(?P<test>(?: `test_\w+` \|)?)$",
    re.MULTILINE,
)
_TOPIC: Final = re.compile(r"<app>\.\w+")
_POWERS: Final = {2**exponent - less: f"2^{exponent}-{less}" for exponent in (31, 63) for less in (1, 2)}

Schema = Mapping[str, Any]


def settings() -> str:
    """The table of settings, in Markdown."""
    lines = ["| setting | means | values | default |", "|---|---|---|---|"]
    lines.append(f"| `{CONFIG}` | A YAML file with settings; the environment takes precedence. | path | |")
    for name, schema, required in leaves(Settings):
        told = f"{values(name, schema)} | {default(schema, is_required=required)}"
        means = _TOPIC.sub(r"`\g<0>`", schema["description"])
        lines.append(f"| `{PREFIX}{name.upper()}` | {means} | {told} |")
    return "\n".join(lines).replace("|  |", "| |")


def tables() -> dict[str, dict[str, tuple[str, str]]]:
    """The values and the default of each field, by the heading of its table and its name in the table."""
    own = {name: told for name, told in _told(Endpoint).items() if name not in _OPAQUE}
    parts: dict[str, type[BaseModel]] = {
        "configuration": KafkaEndpointConfiguration,
        "sharedConfigurationOverride": KafkaShared,
    }
    below = {f"{part}.{name}": told for part, model in parts.items() for name, told in _told(model).items()}
    return {
        "The fields of a definition's entrypoint": _told(Entrypoint),
        "The fields of an endpoint": {**own, **below},
        "The fields of a subscription": {
            name.removeprefix(OPTIONS): told for name, told in _told(WireSubscription).items()
        },
    }


def _told(model: type[BaseModel]) -> dict[str, tuple[str, str]]:
    return {
        name: (_marked(model, name) or values(name, schema), default(schema, is_required=required))
        for name, schema, required in leaves(model)
    }


def _marked(model: type[BaseModel], name: str) -> str:
    _, field = locate(model, tuple(name.split(".")))
    if field is None or not (is_secret(field) or is_url(field)):
        return ""
    return "secret" if is_secret(field) else "URL"


def filled(text: str) -> str:
    """*text* with new values in these columns."""
    for heading, known in tables().items():
        before, title, rest = text.partition(f"\n## {heading}\n")
        section, following, after = rest.partition("\n## ")
        text = f"{before}{title}{_ROW.sub(partial(_row, known), section)}{following}{after}"
    return text


def _row(known: Mapping[str, tuple[str, str]], found: re.Match[str]) -> str:
    columns = " | ".join(known.get(found["name"], ("unknown", "")))
    return f"| `{found['name']}`{found['ours']} | {found['means']} | {columns} |{found['test']}".replace("|  |", "| |")


def leaves(model: type[BaseModel]) -> Iterator[tuple[str, Schema, bool]]:
    """The fields that have values: path, schema, and whether the field is required in its object."""
    whole = model.model_json_schema()
    yield from _below(whole, whole.get("$defs", {}), "")


def _below(schema: Schema, known: Mapping[str, Schema], path: str) -> Iterator[tuple[str, Schema, bool]]:
    for name, field in schema["properties"].items():
        own = _without_null(field)
        inner = own.get("items", own)
        target = known.get(inner.get("$ref", "").rpartition("/")[2])
        if target is not None and "properties" in target:
            yield from _below(target, known, f"{path}{name}.")
        else:
            yield f"{path}{name}", {**field, **own}, name in schema.get("required", ())


def _without_null(schema: Schema) -> Schema:
    options = [each for each in schema.get("anyOf", ()) if each.get("type") != "null"]
    return options[0] if options else schema


def values(name: str, schema: Schema) -> str:
    """The allowed values, with their unit."""
    match schema:
        case {"enum": options}:
            return ", ".join(f"`{each}`" if each else "empty" for each in options)
        case {"type": "boolean"}:
            return "`true`, `false`"
        case {"type": "integer" | "number" as kind, "minimum": low, "maximum": high}:
            word = "" if kind == "integer" else "number, "
            return f"{word}{_number(low)} to {_number(high)}{_unit(name)}"
        case {"type": "array"}:
            most = f", at most {_number(schema['maxItems'])}" if "maxItems" in schema else ""
            return f"list{most}"
        case {"type": "string"}:
            return _text(name, schema)
        case _:
            return "object"


def _text(name: str, schema: Schema) -> str:
    if "ge" in schema:  # a number of bytes, which may be text
        return f"from {schema['ge']}{_unit(name)}"
    kind = {"password": "secret", "path": "path"}.get(schema.get("format", ""), "text")
    return f"{kind}, at most {_number(schema['maxLength'])} characters" if "maxLength" in schema else kind


def _unit(name: str) -> str:
    return next((f" {unit}" for word, unit in _UNITS.items() if name.lower().endswith(word)), "")


def _number(value: float) -> str:
    return _POWERS.get(int(value)) or (f"{value:g}" if value < 1 else f"{int(value)}")


def default(schema: Schema, *, is_required: bool) -> str:
    """The default of a field."""
    if is_required:
        return "required"
    match schema.get("default"):
        case None | [] | "":
            return ""
        case bool() as flag:
            return f"`{str(flag).lower()}`"
        case int() | float() as number:
            return _number(number)
        case text:
            return f"`{text}`"


def main() -> None:
    """Write the two documents."""
    before, rest = SETTINGS.read_text().split(BEGIN)
    SETTINGS.write_text(f"{before}{BEGIN}\n\n{settings()}\n\n{END}{rest.split(END)[1]}")
    FIELDS.write_text(filled(FIELDS.read_text()))


if __name__ == "__main__":
    main()
