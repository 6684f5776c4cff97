"""Finds the APIs and subscriptions in what Gravitee and its tools write.

{"name": …, "listeners": […], "endpointGroups": […]}            an API of the management API, or a definition
{"api": {…}, "plans": […], "members": […], …}                   a Console export
{"kind": "ApiV4Definition", "spec": {…}}                        a resource of the Kubernetes operator; lists of them
{"data": [{"id": …, "consumerConfiguration": {…}}, …]}          subscriptions of the management API
{"id": …, "configuration": {…}}                                 a subscription of older versions or this pipeline
Terraform's JSON                                                config/gravitee/terraform.py
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from pipeline.config.documents import read_documents
from pipeline.config.gravitee.terraform import UNRESOLVED, resources
from pipeline.config.schema import unpacked
from pipeline.core.errors import ConfigurationError
from pipeline.core.shown import kind, shown

_TEMPLATE: Final = "[["
"""The beginning of a template that the Kubernetes operator fills in, such as [[ secret `kafka/password` ]]."""
_PACKED: Final = {"configuration", "sharedConfiguration", "sharedConfigurationOverride"}
_ENTRYPOINT_OF_SUBSCRIPTIONS: Final = {"consumerConfiguration", "configuration"}
_OF_SUBSCRIPTIONS: Final = {"application", "plan"}


@dataclass(frozen=True, slots=True)
class Part:
    """An API or a subscription.

    Attributes:
        location: the file, and the position in it.
        document: the content, with the field names of the management API.
        ignored: paths of neighbouring parts that have no effect here.
    """

    location: str
    document: Mapping[str, Any]
    ignored: tuple[str, ...] = ()


@dataclass(slots=True)
class Contents:
    """The APIs and subscriptions that were found.

    Attributes:
        unused: a sentence for each known part that has no effect here.
        expected: the total number of subscriptions that a page of the management API names.
        unknown: a sentence for each document of unknown shape.
    """

    apis: list[Part] = field(default_factory=list)
    subscriptions: list[Part] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    expected: int = 0
    unknown: list[str] = field(default_factory=list)


def contents(documents: Iterable[tuple[str, object]]) -> Contents:
    """The APIs and subscriptions in *documents*, which are pairs of location and document.

    Raises:
        ConfigurationError: a value is a reference that only Gravitee's operator or Terraform can resolve; or a document
            is nested too deeply.
    """
    found = Contents()
    for location, document in documents:
        try:
            _sort(location, document, found)
        except RecursionError:
            raise ConfigurationError(f"{location}: is nested too deeply") from None
    return found


def documents_of(path: Path) -> list[object]:
    """The documents of a YAML or JSON file.

    Raises:
        ConfigurationError: see `read_documents`; or the file is written in Terraform's own language.
    """
    if path.suffix == ".tf":
        raise ConfigurationError(
            f"{path}: is in Terraform's own language; import the output of terraform show -json instead"
        )
    return read_documents(path)


def api_of(documents: Sequence[object], path: object) -> Part:
    """The only API in a file.

    A single document of unknown shape is also returned, because an attempt to read it shows what is wrong.

    Raises:
        ConfigurationError: there is no API, or more than one; or see `contents`.
    """
    found = contents(numbered(str(path), documents))
    if len(found.apis) > 1:
        names = ", ".join(shown(each.document.get("name")) for each in found.apis)
        raise ConfigurationError(f"{path}: contains {len(found.apis)} APIs ({names}); exactly one is allowed")
    if not found.apis and found.subscriptions:
        raise ConfigurationError(
            f"{path}: this file holds subscriptions, not an API definition; webhooks subscriptions apply -f {path} "
            "applies them"
        )
    if not found.apis and len(documents) != 1:
        raise ConfigurationError(f"{path}: contains {len(documents)} documents; exactly one is allowed")
    if not found.apis:
        document = documents[0]
        if isinstance(document, Mapping):
            return Part(str(path), document)
        raise ConfigurationError(f"{path}: must be an API definition, not {kind(document)}")
    beside = (f"{len(found.subscriptions)} subscriptions",) if found.subscriptions else ()
    return replace(found.apis[0], ignored=(*found.apis[0].ignored, *found.unused, *beside))


def numbered(name: str, documents: Sequence[object]) -> Iterator[tuple[str, object]]:
    """Each document of a file with its location, which has a number if there are several documents."""
    for number, document in enumerate(documents, 1):
        yield (name if len(documents) == 1 else f"{name}: document {number}"), document


def _sort(location: str, document: object, found: Contents) -> None:
    if isinstance(document, list):
        for index, each in enumerate(document):
            _sort(f"{location}[{index}]", each, found)
    elif isinstance(document, Mapping) and "listeners" in document:
        found.apis.append(_api(location, document))
    elif isinstance(document, Mapping) and _is_subscription(document):
        found.subscriptions.append(Part(location, document))
    elif not isinstance(document, Mapping) or not _sort_wrapped(location, document, found):
        found.unknown.append(f"{location}: is neither an API nor a subscription in a known shape")


def _is_subscription(document: Mapping[str, Any]) -> bool:
    names = document.keys()
    return bool(names & _ENTRYPOINT_OF_SUBSCRIPTIONS) or names >= _OF_SUBSCRIPTIONS


def _sort_wrapped(location: str, document: Mapping[str, Any], found: Contents) -> bool:
    """Add the parts of an export, a resource, a page or a state. Returns whether *document* is one of these."""
    match document:
        case {"api": {"listeners": _} as api}:
            beside = [name for name in document if name not in {"api", "plans"}]
            plans = document.get("plans") or api.get("plans")
            found.apis.append(_api(location, {**api, "plans": plans} if plans else api, beside))
        case {"kind": str(kind_), "apiVersion": _}:
            _sort_resource(location, kind_, document, found)
        case {"data": list(items)}:
            for index, each in enumerate(items):
                _sort(f"{location}: data[{index}]", each, found)
            found.expected = max(found.expected, _total(document))
        case _:
            described = resources(document)
            for resource in described or ():
                _sort_terraform(f"{location}: {resource.address}", resource.type, resource.attributes, found)
            return described is not None
    return True


def _total(page: Mapping[str, Any]) -> int:
    match page:
        case {"pagination": {"totalCount": int(total)}} | {"page": {"total_elements": int(total)}}:
            return total
        case _:
            return 0


def _sort_resource(location: str, kind_: str, resource: Mapping[str, Any], found: Contents) -> None:
    metadata, spec = resource.get("metadata"), resource.get("spec")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    match kind_:
        case "ApiV4Definition" if isinstance(spec, Mapping):
            _refuse(_TEMPLATE, "a template that the operator fills in", spec, location)
            found.apis.append(_api(location, spec))
        case _ if isinstance(items := resource.get("items"), list):
            for index, each in enumerate(items):
                _sort(f"{location}: items[{index}]", each, found)
        case "Subscription":
            found.unused.append(
                f"{kind_} {shown(name)}: names no callback; export the subscriptions of the API from the management API"
            )
        case _:
            found.unused.append(f"{kind_} {shown(name)}")


def _sort_terraform(location: str, type_: str, attributes: Mapping[str, Any], found: Contents) -> None:
    match type_:
        case "apim_apiv4":
            _refuse(UNRESOLVED, "a Terraform reference; read the output of terraform show -json", attributes, location)
            found.apis.append(_api(location, attributes))
        case "apim_subscription":
            _refuse(UNRESOLVED, "a Terraform reference; read the output of terraform show -json", attributes, location)
            found.subscriptions.append(Part(location, attributes))
        case _:
            found.unused.append(location.rpartition(": ")[2])


def _api(location: str, document: Mapping[str, Any], ignored: Iterable[str] = ()) -> Part:
    parts = {name: _unpack(document[name]) for name in ("listeners", "endpointGroups") if name in document}
    return Part(location, {**document, **parts}, tuple(ignored))


def _unpack(value: object, name: str = "") -> object:
    """*value*, in which configurations that were exported as JSON text are parsed."""
    match value:
        case Mapping():
            return {key: _unpack(each, key) for key, each in value.items()}
        case list():
            return [_unpack(each) for each in value]
        case str() if name in _PACKED:
            return unpacked(value)
        case _:
            return value


def _refuse(mark: str, what: str, document: Mapping[str, Any], location: str) -> None:
    parts = ("listeners", "endpointGroups", "consumerConfiguration")
    places = [place for name in parts for place in containing(mark, document.get(name), name)]
    if places:
        raise ConfigurationError([f"{location}: {place}: contains {what}" for place in places])


def containing(mark: str, value: object, path: str) -> Iterator[str]:
    """The paths of the texts in *value* that contain *mark*; *path* is the path of *value*."""
    match value:
        case Mapping():
            for name, each in value.items():
                yield from containing(mark, each, f"{path}.{name}")
        case list():
            for index, each in enumerate(value):
                yield from containing(mark, each, f"{path}[{index}]")
        case str() if mark in value:
            yield path
        case _:
            return
