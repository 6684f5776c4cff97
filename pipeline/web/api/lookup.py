"""Finds the subscriptions that a principal may see. To the principal, no other subscription exists."""

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
"""How many lists may wait. A portal may have many users, and a list takes time."""
CATCH_UP_SECONDS: Final = 2.0
"""How long a call waits for the newest records. After this time, it uses the records that were read."""


class Lookup:
    """Finds subscriptions.

    Attributes:
        turns: limits requests that read all subscriptions. Many such requests at a time would delay deliveries.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.turns = Turns("lists are waiting", LISTS_OF_A_TENANT)

    async def catch_up(self) -> None:
        """Read the newest records, so that the answer includes all changes that any worker has confirmed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CATCH_UP_SECONDS):
                await self._registry.caught_up()

    async def find(self, call: Call) -> Subscription:
        """The subscription in the path of a call.

        Raises:
            UnknownSubscriptionError: there is no such subscription that the principal may see.
        """
        await self.catch_up()
        found = call.principal.seen(self._registry.get(call.id))
        if found is None:
            raise unknown(call.id)
        return found

    async def condition(self, call: Call) -> Condition:
        """The condition of a change. For a tenant, it includes the revision that the tenant may see.

        Raises:
            UnknownSubscriptionError: there is no such subscription that the principal may see.
            PreconditionError: the condition of the call is not met.
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
    """*document*, completed with the metadata that limits the principal.

    Raises:
        ConfigurationError: *document* has other values in this metadata.
    """
    metadata = document.get("metadata")
    if not principal.tenant or not isinstance(metadata, dict | None):
        return document  # metadata that is not an object causes an error when the document is read
    stated = metadata or {}
    problems = [
        f"metadata.{name}: {shown(stated[name])} is not allowed with this token; allowed: {shown(value)}"
        for name, value in principal.tenant.items()
        if stated.get(name, value) != value
    ]
    if problems:
        raise ConfigurationError(problems)
    return {**document, "metadata": {**stated, **principal.tenant}}
