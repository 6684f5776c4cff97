"""Validates data from outside with strict models, and describes mistakes as sentences.

`read()` turns untrusted data into a model, or raises one sentence per mistake. A sentence contains the path of the
field, the value (never a secret), what is allowed and, for an unknown name, the most similar known name. definition.py,
settings.py and subscriptions/schema.py use it.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Final, TypeVar

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from pipeline.config.model_fields import SecretMark, alias, is_secret, is_url, model_in
from pipeline.config.validation_messages import join, sentence
from pipeline.core.credentials import change_query_credentials
from pipeline.core.errors import ConfigurationError
from pipeline.core.redaction import MASKED_FIELD

Secret = Annotated[str, SecretMark(), StringConstraints(min_length=1)]
"""A password, a token, a key."""

MOST_MISTAKES: Final = 1000
"""The largest number of mistakes that are described. One MiB of JSON can contain half a million."""

Name = Annotated[str, StringConstraints(min_length=1, pattern=r"\S")]
"""A text that is not blank."""


class StrictModel(BaseModel):
    """A JSON object with names in camelCase. Unknown names and values of other types are errors.

    Attributes:
        without_meaning: names that are allowed but have no effect here. `drop_meaningless()` removes and reports their
            fields before the object is read.
        marked_secret: the names of the fields that are marked as secret.
        marked_url: the names of the fields that hold a URL.
        parts: the models of the fields that hold objects, by the names of the fields in documents.
        holding: the names of the fields that hold objects, in this class.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        alias_generator=to_camel,
        hide_input_in_errors=True,
    )

    without_meaning: ClassVar[frozenset[str]] = frozenset()
    marked_secret: ClassVar[frozenset[str]] = frozenset()
    marked_url: ClassVar[frozenset[str]] = frozenset()
    parts: ClassVar[Mapping[str, "type[StrictModel]"]] = {}
    holding: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        # These are computed once for each class, because a starting worker reads thousands of subscriptions.
        fields = cls.model_fields
        cls.marked_secret = frozenset(name for name, field in fields.items() if is_secret(field))
        cls.marked_url = frozenset(name for name, field in fields.items() if is_url(field))
        models = {alias(name, field): model_in(field.annotation) for name, field in fields.items()}
        cls.parts = {name: model for name, model in models.items() if model and issubclass(model, StrictModel)}
        cls.holding = frozenset(name for name, field in fields.items() if alias(name, field) in cls.parts)

    def secret_fields(self) -> frozenset[str]:
        """The names of the fields of this object that hold a secret."""
        return type(self).marked_secret

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        secret = self.secret_fields()
        for name, value in super().__repr_args__():
            if name is not None and name in self.marked_url and isinstance(value, str):
                yield name, change_query_credentials(value, lambda _name, _value: MASKED_FIELD)
            else:
                yield name, MASKED_FIELD if name in secret and value is not None else value


Model = TypeVar("Model", bound=StrictModel)


def problem(sentence: str, field: str | None = None) -> PydanticCustomError:
    """An error for validators: *sentence* is about *field* of the object that is being validated."""
    return PydanticCustomError("problem", "{sentence}", {"sentence": sentence, "field": field})


def read(model: type[Model], data: object, path: str = "") -> Model:
    """Validate *data*, and return it as a *model*.

    Args:
        model: the model.
        data: the parsed JSON or YAML.
        path: the path of *data* in the document, which begins every sentence.

    Raises:
        ConfigurationError: one sentence per mistake.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = _sentences(model, error, path)
    except RecursionError:
        problems = [f"{path or 'document'}: is nested too deeply"]
    # Not chained, because pydantic's message contains the input with its secrets.
    raise ConfigurationError(problems)


def _sentences(model: type[BaseModel], error: ValidationError, path: str) -> list[str]:
    count = error.error_count()
    if count > MOST_MISTAKES:  # describing all of them would block deliveries
        return [f"{path or 'document'}: has {count} mistakes; up to {MOST_MISTAKES} are named one by one"]
    return [sentence(model, details, path) for details in error.errors(include_url=False)]


def drop_meaningless(model: type[StrictModel], data: object, path: str = "") -> tuple[object, list[str]]:
    """Remove the fields without effect. Returns the rest of *data*, and the paths of the removed fields.

    A string in place of an object is parsed as JSON, because exported definitions store configurations in this way.
    """
    if isinstance(data, str):
        data = unpacked(data)
    if not isinstance(data, Mapping):
        return data, []
    kept: dict[object, object] = {}
    dropped: list[str] = []
    for key, value in data.items():
        if key in model.without_meaning:
            dropped.append(join(path, key))
            continue
        part = model.parts.get(str(key))
        if part is None:
            kept[key] = value
            continue
        # The name is plain, so `join`, which costs more than the rest, is not needed.
        kept[key], deeper = _drop_below(part, value, f"{path}.{key}" if path else str(key))
        dropped += deeper
    return kept, dropped


def _drop_below(model: type[StrictModel], value: object, path: str) -> tuple[object, list[str]]:
    if not isinstance(value, list):
        return drop_meaningless(model, value, path)
    pairs = [drop_meaningless(model, item, f"{path}[{index}]") for index, item in enumerate(value)]
    return [kept for kept, _ in pairs], [each for _, dropped in pairs for each in dropped]


def unpacked(text: str) -> object:
    """The JSON object in a text; the text itself if it is not a JSON object."""
    if not text.lstrip().startswith("{"):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
