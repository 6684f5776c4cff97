"""Converts Gravitee's subscriptions into subscriptions of this pipeline."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from pipeline.config.definition_schema import EXPRESSION, WEBHOOK_TYPES
from pipeline.config.gravitee.losses import EXPRESSIONS, Loss
from pipeline.config.gravitee.shapes import containing
from pipeline.config.schema import unpacked
from pipeline.core.errors import ConfigurationError
from pipeline.core.shown import shown
from pipeline.subscriptions.envelope import parse_subscription
from pipeline.subscriptions.schema import GROUP, OPTIONS, WireSubscription

_ENVELOPE: Final = {"entrypointId", "channel", "entrypointConfiguration"}
_KEPT: Final = ("qos", "topics", "startFrom", "metadata")
_TIMES: Final = ("startingAt", "endingAt")
_STATES: Final = {"id", "hrid", "status", "consumerStatus", "consumerConfiguration", "configuration", *_KEPT, *_TIMES}
_NOT_DELIVERED: Final = {"PENDING", "REJECTED", "CLOSED"}
"""States in which Gravitee delivers nothing until a user changes them."""
_EXPRESSION: Final = "contains an expression ({#...}), which would be sent as it is; write the value itself"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A subscription that is not imported, and why."""

    id: str
    why: str


@dataclass(frozen=True, slots=True)
class Taken:
    """A subscription that is imported.

    Attributes:
        notes: what the import changed, as sentences.
        ignored: names of its fields that have no effect in this pipeline.
        losses: the differences from Gravitee's requests.
    """

    subscription: WireSubscription
    notes: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    losses: tuple[Loss, ...] = ()


def take(document: Mapping[str, Any]) -> Taken | LeftOut:
    """Convert a subscription in the format of the management API, of Terraform or of this pipeline.

    Raises:
        ConfigurationError: the subscription can't be used; one sentence per mistake.
    """
    name = document.get("id") or document.get("hrid")
    status, consumer = _upper(document.get("status")), _consumer(document)
    if not isinstance(name, str):
        raise ConfigurationError("id: is required, unless there is an hrid")
    if status in _NOT_DELIVERED:
        return LeftOut(name, f"its status is {status}, so Gravitee delivers nothing to it")
    if consumer is None:
        return LeftOut(name, "it names no callback, because its plan is not a PUSH plan")
    entrypoint = consumer.get("entrypointId")
    if entrypoint not in (None, *WEBHOOK_TYPES):  # not a set: the value may be unhashable
        return LeftOut(name, f"its entrypoint is {shown(entrypoint)}")
    notes: list[str] = []
    options = _options(consumer, notes)
    wanted: dict[str, Any] = {
        "id": name,
        "configuration": {
            "entrypointId": entrypoint or "webhook",
            **({"channel": consumer["channel"]} if consumer.get("channel") else {}),
            "entrypointConfiguration": options,
        },
        **{key: document[key] for key in _KEPT if document.get(key)},
        **{key: _time(document[key]) for key in _TIMES if document.get(key)},
        **_states(status, _upper(document.get("consumerStatus")), notes),
    }
    ignored = tuple(key for key, value in document.items() if key not in _STATES and value is not None)
    # The URL is left out, because the schema reports expressions in it. The filter is left out, because it is not sent.
    sent = {key: value for key, value in options.items() if key not in {"callbackUrl", "filter"}}
    found = tuple(Loss(EXPRESSIONS, path, _EXPRESSION) for path in containing(EXPRESSION, sent, OPTIONS))
    return Taken(parse_subscription(wanted), tuple(notes), ignored, found)


def from_group(taken: WireSubscription, group: str) -> WireSubscription:
    """*taken*, with `startFrom` set to the position of a consumer group."""
    return taken.model_copy(update={"start_from": f"{GROUP}{group}"})


def as_written(subscription: WireSubscription) -> dict[str, Any]:
    """The subscription as a document of this pipeline, without defaults."""
    return subscription.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _consumer(document: Mapping[str, Any]) -> Mapping[str, Any] | None:
    for name in ("consumerConfiguration", "configuration"):
        value = document.get(name)
        found = unpacked(value) if isinstance(value, str) else value
        if isinstance(found, Mapping):
            return found
    return None


def _options(consumer: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    """The entrypoint's configuration without nulls; in the older envelope, all fields but the envelope's own."""
    value = consumer.get("entrypointConfiguration")
    nested = unpacked(value) if isinstance(value, str) else value
    if nested is None:
        nested = {key: each for key, each in consumer.items() if key not in _ENVELOPE}
    if not isinstance(nested, Mapping):
        raise ConfigurationError(f"{OPTIONS}: must be an object")
    options = _without_null(nested)
    retry = options.get("retry")
    if isinstance(retry, dict):
        _convert(retry, notes)
    return options


def _convert(retry: dict[str, Any], notes: list[str]) -> None:
    on_fail = retry.pop("retryOnFail", None)
    if on_fail is not None and "retryOption" not in retry:
        retry["retryOption"] = "Retry On Fail" if on_fail else "No Retry"
    if retry.get("retryOption") != "No Retry" and "retryStrategy" not in retry:
        retry["retryStrategy"] = "LINEAR"
        notes.append("retry.retryStrategy is LINEAR, which is Gravitee's default")


def _states(status: str, consumer_status: str, notes: list[str]) -> dict[str, str]:
    if consumer_status == "FAILURE":
        notes.append("it is in FAILURE in Gravitee and STOPPED here; start it with: webhooks subscriptions start ID")
    return {
        **({"status": status} if status else {}),
        **(
            {"consumerStatus": "STOPPED" if consumer_status == "FAILURE" else consumer_status}
            if consumer_status
            else {}
        ),
    }


def _time(value: object) -> object:
    """A time as ISO 8601. Older versions write milliseconds. Any other value is unchanged, and is refused later."""
    if isinstance(value, int) and not isinstance(value, bool):
        with suppress(ValueError, OverflowError, OSError):
            return datetime.fromtimestamp(value / 1000, UTC).isoformat()
    return value


def _without_null(value: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _cleaned(each) for key, each in value.items() if each is not None}


def _cleaned(value: object) -> object:
    match value:
        case Mapping():
            return _without_null(value)
        case list():
            return [_cleaned(each) for each in value]
        case _:
            return value


def _upper(value: object) -> str:
    return value.upper() if isinstance(value, str) else ""
