"""Checks a subscription before it is applied, and finds out what applying it would do. Writes nothing."""

import asyncio
from dataclasses import dataclass
from typing import Literal

from pipeline.config.definition import Definition
from pipeline.core.clock import Clock
from pipeline.core.errors import ConfigurationError
from pipeline.core.subscription import Subscription
from pipeline.http.ssrf_guard import Guard
from pipeline.subscriptions import edits
from pipeline.subscriptions.advisories import advisory, breadth, period, refusal
from pipeline.subscriptions.differences import dropped
from pipeline.subscriptions.key_check import check_keys
from pipeline.subscriptions.registry import Registry
from pipeline.subscriptions.resolve import check_limits, has_stores
from pipeline.subscriptions.schema import WireSubscription
from pipeline.subscriptions.secrets import unmask
from pipeline.subscriptions.start_offsets import (
    check_beginning,
    check_command,
    check_routing,
    with_beginning_of,
    with_same_beginning,
)


@dataclass(frozen=True, slots=True)
class Checked:
    """A subscription that may be written.

    Attributes:
        asked: the subscription as it was given.
        wanted: the subscription to write: with plain secrets, and with the fields that are kept from the stored one.
        known, stored: the existing subscription, resolved and with plain secrets; None if none exists, or if it can't
            be read.
        advisory: a warning about the subscription, or None.
    """

    asked: WireSubscription
    wanted: WireSubscription
    known: Subscription | None
    stored: WireSubscription | None
    advisory: str | None

    @property
    def what(self) -> Literal["created", "updated", "unchanged"]:
        """What applying the subscription does."""
        if self.known is None:
            return "created"
        is_same = self.stored is not None and edits.is_same(self.wanted, self.stored)
        return "unchanged" if is_same else "updated"


def built_on(wanted: WireSubscription, stored: WireSubscription) -> WireSubscription:
    """*wanted*, with the states, the beginning and the masked secrets of the *stored* subscription.

    Raises:
        ConfigurationError: *wanted* can't replace *stored*.
    """
    return unmask(with_same_beginning(edits.with_states(wanted, stored), stored), stored)


class Checks:
    """The checks of one store.

    Args:
        clock: the time against which `endingAt` is checked.
        guard: warns about callbacks that it refuses; None: no such warnings.
    """

    def __init__(self, registry: Registry, definition: Definition, clock: Clock, guard: Guard | None) -> None:
        self._guard = guard
        self._registry = registry
        self._definition = definition
        self._clock = clock

    async def checked(self, asked: WireSubscription) -> Checked:
        """*asked* after its checks, with the fields that are kept from the stored subscription.

        Raises:
            ConfigurationError: *asked* can't be used; one sentence per mistake.
        """
        check_routing(asked, self._definition)
        known = self._registry.present(asked.id)
        stored = None if known is None else self.readable(asked.id)
        if known is None:
            check_beginning(asked, self._clock.now())
        if stored is not None:
            wanted = built_on(asked, stored)
        else:
            wanted = unmask(asked if known is None else with_beginning_of(asked, known), None)
        if stored is None or wanted.resume_from != stored.resume_from:
            check_command(wanted.resume_from, self._clock.now())
        warnings = (None if stored is None else dropped(wanted, stored), await self._check(wanted))
        return Checked(asked, wanted, known, stored, "; ".join(filter(None, warnings)) or None)

    def readable(self, subscription_id: str) -> WireSubscription | None:
        """The stored subscription with plain secrets; None if its record can't be read (it may be replaced)."""
        try:
            return self._registry.wire(subscription_id)
        except ConfigurationError:
            return None

    async def _check(self, subscription: WireSubscription) -> str | None:
        """The warning about a subscription, if any. Raises: ConfigurationError."""
        check_limits(subscription, self._definition)
        applied = await self._registry.resolve(subscription)
        if has_stores(subscription):
            await asyncio.to_thread(check_keys, applied)
        advisories = (
            breadth(applied, self._definition),
            period(applied, self._clock.now()),
            None if self._guard is None else refusal(applied, self._guard),
            advisory(applied, self._clock.now()),
        )
        return "; ".join(filter(None, advisories)) or None
