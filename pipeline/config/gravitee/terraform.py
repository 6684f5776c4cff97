"""Finds resources of Gravitee's Terraform provider, and translates names into those of the management API.

    {"values": {"root_module": {"resources": [{"type": "apim_apiv4", "name": …, "values": {…}}]}}}   of `show -json`
    {"resources": [{"type": "apim_apiv4", "name": …, "instances": [{"attributes": {…}}]}]}           of `state pull`
    {"resource": {"apim_apiv4": {"orders": {…}}}}                                                    of *.tf.json

Attributes are in snake case. A listener or a selector is an object whose only key is its type.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic.alias_generators import to_camel

UNRESOLVED: Final = "${"
"""The beginning of a reference that only Terraform can resolve. States contain no references."""

_ONE_OF: Final = {"listeners", "selectors"}
_AS_THEY_ARE: Final = {"metadata"}
"""Attributes that have other names in the provider."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource of a state or a configuration.

    Attributes:
        address: the address in Terraform's notation, such as `apim_apiv4.orders`.
        attributes: the attributes that are not null, with names in camel case.
    """

    address: str
    type: str
    attributes: Mapping[str, Any]


def resources(document: Mapping[str, Any]) -> list[Resource] | None:
    """The resources in a *document* of Terraform; None if Terraform did not write it."""
    match document:
        case {"format_version": _, "values": {"root_module": Mapping() as root}}:
            return list(_of_module(root))
        case {"terraform_version": _, "resources": list(found)}:
            return [
                _resource(each, instance.get("attributes"))
                for each in _objects(found)
                for instance in _objects(each.get("instances"))
            ]
        case {"resource": Mapping() as types}:
            return [
                Resource(f"{kind}.{name}", kind, _camel(attributes))
                for kind, named in types.items()
                if isinstance(named, Mapping)
                for name, attributes in named.items()
                if isinstance(attributes, Mapping)
            ]
        case _:
            return None


def _of_module(module: Mapping[str, Any]) -> Iterator[Resource]:
    for each in _objects(module.get("resources")):
        yield _resource(each, each.get("values"))
    for child in _objects(module.get("child_modules")):
        yield from _of_module(child)


def _resource(described: Mapping[str, Any], attributes: object) -> Resource:
    kind, name = str(described.get("type")), str(described.get("name"))
    return Resource(f"{kind}.{name}", kind, _camel(attributes if isinstance(attributes, Mapping) else {}))


def _objects(items: object) -> list[Mapping[str, Any]]:
    return [each for each in items if isinstance(each, Mapping)] if isinstance(items, list) else []


def _camel(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        to_camel(name): value if name in _AS_THEY_ARE else _value(value, is_one_of=name in _ONE_OF)
        for name, value in attributes.items()
        if value is not None
    }


def _value(value: object, *, is_one_of: bool = False) -> object:
    match value:
        case list():
            return [_value(each, is_one_of=is_one_of) for each in value]
        case Mapping() if is_one_of and "type" not in value:
            named = {name: each for name, each in value.items() if each is not None}
            [(name, chosen), *more] = named.items() or [("", None)]
            if not more and isinstance(chosen, Mapping):
                return {"type": name.upper(), **_camel(chosen)}
            return _camel(value)
        case Mapping():
            return _camel(value)
        case _:
            return value
