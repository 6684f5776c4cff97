"""Finds the subscriptions that a principal may see, as if no others existed."""

import asyncio
from contextlib import suppress
from typing import Any, Final

from pipeline.core.errors import ConfigurationError, UnknownSubscriptionError
from pipeline.core.shown import shown
from pipeline.core.subscription import Subscription
from pipeline.subscriptions.edits import Condition
from pipeline.subscriptions.registry import Registry
from pipeline.web.api.operations import Call
from pipeline.web.principal import Principal
from pipeline.web.tenant_limits import Turns

LISTS_OF_A_TENANT: Final = 16
"""Lists that may wait: a portal may have many users, and a list takes a moment."""
CATCH_UP_SECONDS: Final = 2.0
"""How long a call waits for the newest records; after that, it uses those that the worker has read."""


class Lookup:
    """Finds subscriptions.

    Args:
        registry: of the worker.

    Attributes:
        turns: at looking through all subscriptions. Many such requests at a time would lengthen each turn of the event
            loop and delay deliveries.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.turns = Turns("lists are waiting", LISTS_OF_A_TENANT)

    async def catch_up(self) -> None:
        """Read the newest records, so that the answer includes changes that any worker has confirmed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CATCH_UP_SECONDS):
                await self._registry.caught_up()

    async def find(self, call: Call) -> Subscription:
        """The subscription that a call is about.

        Raises:
            UnknownSubscriptionError: there is none that the principal may see.
        """
        await self.catch_up()
        found = call.principal.seen(self._registry.get(call.id))
        if found is None:
            raise unknown(call.id)
        return found

    async def condition(self, call: Call) -> Condition:
        """The condition of a change. For a tenant it includes the revision that was found to be theirs.

        Raises:
            UnknownSubscriptionError: there is none that the principal may see.
            StaleError: the condition of the call is not met.
        """
        if not call.principal.tenant:
            return call.condition
        found = await self.find(call)
        call.condition.check(found.id, found.revision)
        return Condition(frozenset({found.revision}))


def unknown(subscription_id: str) -> UnknownSubscriptionError:
    """The error for a subscription that does not exist, or that the principal may not see."""
    return UnknownSubscriptionError(f"there is no subscription {shown(subscription_id)}")


def within_limits(document: dict[str, Any], principal: Principal) -> dict[str, Any]:
    """*document* with the metadata that limits the principal.

    Raises:
        ConfigurationError: it has other values there.
    """
    metadata = document.get("metadata")
    if not principal.tenant or not isinstance(metadata, dict | None):
        return document  # anything but an object is refused when the document is read
    stated = metadata or {}
    problems = [
        f"metadata.{name}: {shown(stated[name])} is not allowed with this token; allowed: {shown(value)}"
        for name, value in principal.tenant.items()
        if stated.get(name, value) != value
    ]
    if problems:
        raise ConfigurationError(problems)
    return {**document, "metadata": {**stated, **principal.tenant}}
