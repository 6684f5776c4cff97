"""Reads YAML and JSON files as plain data. Differs from YAML 1.1: times stay text, and duplicate keys are errors."""

import json
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from pipeline.core.errors import ConfigurationError


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, but times stay text and duplicate keys are errors."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable):
                if key in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", key_node.start_mark)
                seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_documents(path: Path) -> list[object]:
    """Every document of a YAML (or JSON) file; none for an empty file.

    Raises:
        ConfigurationError: the file can't be read or is not YAML; names the line.
    """
    try:
        return parse_documents(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise ConfigurationError(f"{path}: can't be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: is not UTF-8 at byte {error.start}") from None


def parse_documents(text: str, name: str = "document") -> list[object]:
    """Every document of a YAML (or JSON) *text*; *name* is its name in errors.

    Raises:
        ConfigurationError: see `read_documents`.
    """
    not_json: ConfigurationError | None = None
    if text.lstrip().startswith(("{", "[")):
        # JSON first, because it allows tabs, which YAML forbids.
        try:
            return [json.loads(text, object_pairs_hook=_unique)]
        except json.JSONDecodeError as error:
            position = f"line {error.lineno}, column {error.colno}"
            not_json = ConfigurationError(f"{name}: {position}: is not JSON: {error.msg}")
        except (ValueError, RecursionError):
            pass
    if not_json is not None and name.endswith(".json"):
        raise not_json
    try:
        return [document for document in yaml.load_all(text, _Loader) if document is not None]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        position = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "somewhere"
        raise ConfigurationError(f"{name}: {position}: {error.problem}") from None
    except yaml.YAMLError:
        raise ConfigurationError(f"{name}: contains characters that YAML does not allow") from None
    except (ValueError, RecursionError):
        raise ConfigurationError(f"{name}: is not valid YAML") from None


def read_document(path: Path) -> object:
    """The one document of a YAML (or JSON) file.

    Raises:
        ConfigurationError: there is no document, or more than one; or see `read_documents`.
    """
    documents = read_documents(path)
    if len(documents) != 1:
        raise ConfigurationError(f"{path}: contains {len(documents)} documents; exactly one is allowed")
    return documents[0]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        # not JSON: the YAML loader reports the error with line and column
        raise ValueError("duplicate key")
    return result
