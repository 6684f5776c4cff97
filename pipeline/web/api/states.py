"""The interface of the API and the pages to the view of the cluster, which has the state of deliveries."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any, Final, Protocol

from pipeline.cluster.state import (
    EVERY_STATE,
    FailureGroup,
    State,
    StateFilter,
    StatePage,
    SubscriptionState,
    WorkerState,
)
from pipeline.subscriptions.edits import Edit, unless_well
from pipeline.web.principal import Principal

PAGE: Final = 1000
NONE: Final = StateFilter(ids=frozenset())
"""Matches nothing."""


class View(Protocol):
    """Has the state of every subscription in the whole cluster (cluster/view.py)."""

    @property
    def is_current(self) -> bool:
        """Whether the view has read all records that existed at its start."""

    @property
    def hears_workers(self) -> bool:
        """Whether announcements are current. If so, a worker that announces nothing is gone."""

    def problems(self) -> list[str]:
        """A sentence for each part that is unknown at present, with the reason."""

    def workers(self) -> list[WorkerState]:
        """All workers, by name."""

    def state(self, subscription_id: str) -> SubscriptionState | None:
        """The state of a subscription; None if there is no such subscription."""

    async def states(self, wanted: StateFilter, after: str | None = None, limit: int = 100) -> StatePage:
        """A page of the matching subscriptions, sorted by id."""

    async def totals(self, wanted: StateFilter = EVERY_STATE) -> Mapping[State, int]:
        """The number of matching subscriptions in each state."""

    async def failures(self, wanted: StateFilter = EVERY_STATE) -> list[FailureGroup]:
        """The matching subscriptions that fail, grouped by cause and host."""

    async def changed(self, since: int) -> int:
        """Wait for a change after the version *since*. Returns the new version."""


def limited(wanted: StateFilter, principal: Principal) -> StateFilter:
    """*wanted*, without the subscriptions that the principal may not see."""
    if any(wanted.metadata.get(name, value) != value for name, value in principal.tenant.items()):
        return NONE
    return replace(wanted, metadata={**wanted.metadata, **principal.tenant})


async def each_state(view: View, wanted: StateFilter) -> AsyncIterator[SubscriptionState]:
    """All matching subscriptions, sorted by id."""
    after = None
    while True:
        page = await view.states(wanted, after, PAGE)
        for state in page.items:
            yield state
        if page.next is None:
            return
        after = page.next


def is_in_failure(view: View, subscription_id: str) -> bool | None:
    """Whether a subscription is in FAILURE; None if unknown."""
    found = view.state(subscription_id) if view.is_current else None
    return None if found is None else found.has_failed


def as_needed(edit: Edit, view: View, subscription_id: str) -> Edit:
    """The *edit* (a resume or a start), written only if it changes a field or the subscription is not well."""
    found = view.state(subscription_id) if view.is_current else None
    return unless_well(edit, is_well=found is not None and found.is_well)


def shown_waiting(view: View, subscription_id: str) -> dict[str, Any]:
    """The number of a subscription's waiting events, as fields of an answer."""
    found = view.state(subscription_id) if view.is_current else None
    if found is None:
        return {"waiting": None, "waitingAtMost": None}
    return {"waiting": found.waiting, "waitingAtMost": found.waiting_at_most}
