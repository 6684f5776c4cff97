"""Inspects pydantic models: the alias and the marks of a field; the field at a location."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from types import UnionType
from typing import Annotated, Literal, Union, get_args, get_origin
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo


class SecretMark:
    """Marks a field whose value must not appear in errors, log lines or reprs."""


class UrlMark:
    """Marks a field with a URL, whose query may contain credentials."""


def alias(name: str, field: FieldInfo) -> str:
    """The name of the field in documents."""
    return field.alias or name


def locate(model: type[BaseModel], location: tuple[int | str, ...]) -> tuple[type[BaseModel] | None, FieldInfo | None]:
    """The model that contains the last name of a location, and the field with this name, if it exists."""
    owner: type[BaseModel] | None = model
    field: FieldInfo | None = None
    names = [step for step in location if isinstance(step, str)]
    for index, name in enumerate(names):
        if owner is None:
            return None, field
        by_alias = {alias(each, info): info for each, info in owner.model_fields.items()}
        if name not in by_alias:
            return owner, None
        field = by_alias[name]
        if index < len(names) - 1:
            owner = model_in(field.annotation)
    return owner, field


def model_in(annotation: object) -> type[BaseModel] | None:
    """The model in an annotation such as `list[M] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in {Union, UnionType, list, Annotated}:
        return next((model for part in get_args(annotation) if (model := model_in(part))), None)
    return None


@cache
def homes(model: type[BaseModel]) -> Mapping[str, Sequence[tuple[str, ...]]]:
    """By field name, the paths of the objects in a model that have a field with this name. Ignores lists."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for path, owner in _objects(model, ()):
        for name, field in owner.model_fields.items():
            found.setdefault(alias(name, field), []).append(path)
    return found


def _objects(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], type[BaseModel]]]:
    yield path, model
    for name, field in model.model_fields.items():
        part = model_in(field.annotation)
        if part is not None and not _is_list(field.annotation):
            yield from _objects(part, (*path, alias(name, field)))


def _is_list(annotation: object) -> bool:
    return get_origin(annotation) is list or any(_is_list(part) for part in get_args(annotation))


def literals(annotation: object) -> list[object]:
    """The values that the `Literal` inside an annotation allows."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [option for part in get_args(annotation) for option in literals(part)]


def metadata(field: FieldInfo | None) -> list[object]:
    """All `Annotated` metadata of a field, at any depth."""
    return [] if field is None else [*field.metadata, *_annotations(field.annotation)]


def _annotations(annotation: object) -> list[object]:
    own: list[object] = []
    for mark in getattr(annotation, "__metadata__", ()):
        own += mark.metadata if isinstance(mark, FieldInfo) else [mark]
    return [*own, *(mark for part in get_args(annotation) for mark in _annotations(part))]


def is_secret(field: FieldInfo | None) -> bool:
    """Whether the value of a field must not be shown."""
    if field is None:
        return False
    return _mentions(field.annotation, SecretStr) or any(isinstance(mark, SecretMark) for mark in metadata(field))


def is_url(field: FieldInfo) -> bool:
    """Whether a field holds a URL."""
    return any(isinstance(mark, UrlMark) for mark in metadata(field))


def _mentions(annotation: object, wanted: type) -> bool:
    return annotation is wanted or any(_mentions(part, wanted) for part in get_args(annotation))


def split_url(url: str) -> SplitResult | None:
    """The parts of *url*; None if its host or port is invalid, or it contains a lone surrogate."""
    try:
        parts = urlsplit(url)
        url.encode()
        _ = parts.hostname, parts.port  # validated when they are read
    except ValueError:
        return None
    return parts
