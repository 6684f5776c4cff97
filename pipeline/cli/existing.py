"""Checks that the subscription of a command exists before the command writes anything."""

from typing import Final

from pipeline.cluster.sending import is_subscription
from pipeline.config.definition import Definition
from pipeline.config.settings import Settings
from pipeline.config.validation_messages import similar
from pipeline.core.errors import ConfigurationError
from pipeline.core.shown import printable, shown
from pipeline.subscriptions.session import opened_registry

MOST_COMPARED: Final = 1000
"""The largest number of ids that are compared with an unknown id."""
COMPARED_CHARACTERS: Final = 4
"""If there are more ids, an id is compared only if this many first characters are the same as in the unknown id."""


async def require_subscription(
    settings: Settings, definition: Definition, subscription: str, then: str = "", *, advice: str | None = None
) -> str | None:
    """Check that a subscription exists. Returns None, or why it is unknown whether the subscription exists.

    Args:
        settings: the settings of the command.
        definition: names the source.
        subscription: an id that the user gave.
        then: the continuation of the error's sentence, such as "; nothing was written".
        advice: what to do if no similar id was meant; the end of the error.

    Raises:
        BrokerError: the subscriptions can't be read.
        ConfigurationError: the subscription does not exist. A similar id is suggested.
    """
    exists = await is_subscription(settings.app, definition.source, subscription)
    if isinstance(exists, str):
        return f"can't find out whether the subscription {shown(subscription)} exists: {exists}"
    if exists:
        return None
    async with opened_registry(settings, definition) as registry:
        ids = registry.ids()
        if len(ids) > MOST_COMPARED:  # comparing 100,000 ids would take many seconds
            ids = [each for each in ids if each.startswith(subscription[:COMPARED_CHARACTERS])][:MOST_COMPARED]
        near = similar(subscription, ids)
    hint = "" if near is None else f"; did you mean {printable(near)}?"
    if advice is not None:
        hint += f" Otherwise {advice}" if hint else f"; {advice}"
    raise ConfigurationError(f"there is no subscription {shown(subscription)}{then}{hint}")
