"""Masks the secrets of an API definition, so that it may be shown."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import AliasChoices

from pipeline.config.definition_schema import ProxyOptions
from pipeline.config.kafka_security import KeyStore, Sasl, TrustStore
from pipeline.config.model_fields import alias
from pipeline.config.schema import StrictModel
from pipeline.core.redaction import MASKED_FIELD


def _secret_names(model: type[StrictModel]) -> set[str]:
    names: set[str] = set()
    for name in model.marked_secret:
        field = model.model_fields[name]
        choices = field.validation_alias
        names.update(map(str, choices.choices) if isinstance(choices, AliasChoices) else [alias(name, field)])
    return names


_MODELS: Final[Sequence[type[StrictModel]]] = (ProxyOptions, KeyStore, Sasl, TrustStore)
_SECRETS: Final = frozenset(name for model in _MODELS for name in _secret_names(model))
"""The names of all fields with secrets. No other field of a definition has one of these names."""


def masked(document: Mapping[str, Any]) -> dict[str, Any]:
    """A pruned definition (pruned.py) with every secret replaced by `MASKED_FIELD`."""
    return {name: MASKED_FIELD if name in _SECRETS else _masked(value) for name, value in document.items()}


def _masked(value: object) -> object:
    match value:
        case Mapping():
            return masked(value)
        case list():
            return [_masked(each) for each in value]
        case _:
            return value
