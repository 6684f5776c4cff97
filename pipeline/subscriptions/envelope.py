"""The two envelopes of a subscription. Both can be read; the newer one is written.

{"id": …, "configuration": {"entrypointId": …, "callbackUrl": …}}                            the older, flat one
{"id": …, "configuration": {"entrypointId": …, "entrypointConfiguration": {"callbackUrl": …}}}     the newer one
"""

from collections.abc import Mapping
from contextlib import suppress
from difflib import get_close_matches
from typing import Any, Final

from pydantic import ValidationError

from pipeline.config.gravitee.shapes import contents
from pipeline.config.schema import drop_meaningless, read
from pipeline.core.errors import ConfigurationError
from pipeline.core.shown import kind
from pipeline.subscriptions.schema import OPTIONS, WireSubscription

WRITTEN_BY_STORE: Final = frozenset({"createdRevision", "start"})
"""Fields that only the store writes. They are shown with a subscription, so documents may contain them."""
OF_MATCH_ALONE: Final = (*WRITTEN_BY_STORE, "startFrom", "topics")
_OPTIONS: Final = "entrypointConfiguration"
_ENVELOPE: Final = {"entrypointId", "channel", _OPTIONS}
ALIKE: Final = 0.75
"""A name that is at least this similar to another one counts as misspelled. (`entrypointId` is far less similar.)"""


def parse_subscription(document: object) -> WireSubscription:
    """A subscription in either envelope, as a user wrote it. Fields that only the store writes are removed.

    Raises the errors of `parse_stored`.
    """
    if isinstance(document, Mapping):
        document = {key: value for key, value in document.items() if key not in WRITTEN_BY_STORE}
    return parse_stored(document)


def parse_stored(document: object) -> WireSubscription:
    """A subscription in either envelope, as it is stored in the topic.

    Raises:
        ConfigurationError: one sentence per mistake, with the path of the field in its own envelope.
    """
    if not isinstance(document, Mapping):
        raise ConfigurationError(f"subscription: must be an object, not {kind(document)}")
    with suppress(ValidationError, RecursionError):
        return WireSubscription.model_validate(document)  # most are as the store writes them
    if "configuration" not in document and _is_definition(document):
        raise ConfigurationError("this is an API definition, not a subscription; WEBHOOKS_API names its file")
    unpacked, _ = drop_meaningless(WireSubscription, document)
    nested, was_flat = _in_newer_envelope(unpacked)
    try:
        return read(WireSubscription, nested)
    except ConfigurationError as error:
        if not was_flat:
            raise
        problems = [
            f"configuration{each.removeprefix(OPTIONS)}" if each.startswith(OPTIONS) else each
            for each in error.problems
        ]
    raise ConfigurationError(problems)


def to_document(subscription: WireSubscription) -> dict[str, Any]:
    """The subscription in the newer envelope, as plain JSON values; defaults are written out."""
    document = subscription.model_dump(mode="json", by_alias=True)
    options = subscription.configuration.entrypoint_configuration.model_dump(
        mode="json", by_alias=True, exclude_none=True
    )
    document["configuration"]["entrypointConfiguration"] = options
    if subscription.start is not None:
        document["start"] = {
            topic: start.model_dump(mode="json", by_alias=True, exclude_none=True)
            for topic, start in subscription.start.items()
        }
    for name in OF_MATCH_ALONE:
        if document[name] is None:
            del document[name]
    if subscription.resume_from is not None:
        document["resumeFrom"] = subscription.resume_from.model_dump(mode="json", by_alias=True, exclude_none=True)
    return document


def _is_definition(document: Mapping[str, object]) -> bool:
    with suppress(ConfigurationError):
        return bool(contents([("document", document)]).apis)
    return False


def _in_newer_envelope(document: object) -> tuple[object, bool]:
    if not isinstance(document, Mapping):
        return document, False
    configuration = document.get("configuration")
    if not isinstance(configuration, Mapping) or "entrypointConfiguration" in configuration:
        return document, False
    if "callbackUrl" not in configuration and get_close_matches(_OPTIONS, map(str, configuration), cutoff=ALIKE):
        # This is a typo. If the document were read as the other envelope, every field would be wrong.
        return document, False
    envelope = {key: value for key, value in configuration.items() if key in _ENVELOPE}
    options = {key: value for key, value in configuration.items() if key not in _ENVELOPE}
    return {**document, "configuration": {**envelope, "entrypointConfiguration": options}}, True
