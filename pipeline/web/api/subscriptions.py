"""The operations on subscriptions: list, get, create, replace, delete."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote
from uuid import NAMESPACE_OID, uuid4, uuid5

from aiohttp import hdrs

from pipeline.cluster.shown import shown_state
from pipeline.cluster.state import StateFilter, SubscriptionState
from pipeline.config.definition import Definition
from pipeline.core.errors import ConfigurationError, ConflictError, PreconditionError
from pipeline.core.shown import kind, shown
from pipeline.subscriptions.edits import ABSENT, Change
from pipeline.subscriptions.registry import Registry
from pipeline.web.api.lookup import Lookup, unknown, within_limits
from pipeline.web.api.models import Changed, ListQuery, ShownSubscription, SubscriptionDocument, SubscriptionPage
from pipeline.web.api.operations import ApiAnswer, Call, Operation
from pipeline.web.api.states import View, limited
from pipeline.web.api.writing import Writing
from pipeline.web.principal import Principal

PATH: Final = "/api/subscriptions"
ONE: Final = f"{PATH}/{{id}}"

STEP: Final = 20
"""How many subscriptions are read and masked at a time, before deliveries get their turn. Each takes 0.3 ms."""
STEP_BYTES: Final = 64 * 1024
"""The size of documents, as JSON, after which deliveries get their turn."""
PAGE_BYTES: Final = 4 * 1024 * 1024
"""A page ends with the document with which it reaches this size, as JSON. A document may have 1 MiB."""


class Subscriptions:
    """The operations on subscriptions.

    Args:
        lookup: finds subscriptions in `registry`.
        writing: makes changes.
    """

    def __init__(
        self, registry: Registry, lookup: Lookup, view: View, writing: Writing, definition: Definition
    ) -> None:
        self._registry = registry
        self._lookup = lookup
        self._view = view
        self._writing = writing
        self._definition = definition

    def operations(self) -> Sequence[Operation]:
        """The operations with their paths."""
        ok, created = HTTPStatus.OK, HTTPStatus.CREATED
        document: dict[str, Any] = {"body": SubscriptionDocument, "is_document": True, "scope": "write"}
        return (
            Operation("GET", PATH, self.list_subscriptions, {ok: SubscriptionPage}, query=ListQuery),
            Operation(
                "POST",
                PATH,
                self.create_subscription,
                {created: Changed},
                problems=(HTTPStatus.CONFLICT,),
                **document,
            ),
            Operation("GET", ONE, self.get_subscription, {ok: ShownSubscription}),
            Operation(
                "PUT",
                ONE,
                self.put_subscription,
                {ok: Changed, created: Changed},
                is_conditional=True,
                **document,
            ),
            Operation("DELETE", ONE, self.delete_subscription, {ok: Changed}, scope="write", is_conditional=True),
        )

    async def list_subscriptions(self, call: Call) -> ApiAnswer:
        """List subscriptions, sorted by id. A page with large documents has fewer than `limit` items; see `next`."""
        query: ListQuery = call.query
        wanted = StateFilter(
            query.q or "",
            frozenset(query.state or ()),
            frozenset(query.cause or ()),
            query.host,
            query.metadata or {},
        )
        await self._lookup.catch_up()
        async with self._lookup.turns.turn(call.principal):
            return await self._page(call.principal, limited(wanted, call.principal), query.after, query.limit)

    async def _page(self, principal: Principal, wanted: StateFilter, after: str | None, limit: int) -> ApiAnswer:
        page = await self._view.states(wanted, after, limit)
        items, size, rested = [], 0, 0
        for number, state in enumerate(page.items, 1):
            document = self._shown(state.id, state, principal)
            if document is not None:
                items.append(document)
                size += len(json.dumps(document))
            if size >= PAGE_BYTES and number < len(page.items):
                return ApiAnswer({"items": items, "next": state.id, "total": page.total})
            if number % STEP == 0 or size - rested >= STEP_BYTES:
                rested = size
                await asyncio.sleep(0)
        return ApiAnswer({"items": items, "next": page.next, "total": page.total})

    async def get_subscription(self, call: Call) -> ApiAnswer:
        """Show a subscription with its secrets masked. The ETag of the answer is the revision."""
        await self._lookup.find(call)
        document = self._shown(call.id, self._view.state(call.id), call.principal)
        if document is None:
            raise unknown(call.id)
        return ApiAnswer(document, headers=_entity_tag(document["revision"]))

    async def create_subscription(self, call: Call) -> ApiAnswer:
        """Create a subscription. Without `id`, it gets an id. An existing subscription is not changed.

        With a token that is limited to a tenant, `id` is not allowed, because a refusal would reveal ids of other
        tenants.
        """
        document = within_limits(_object(call.body), call.principal)
        if call.principal.tenant and "id" in document:
            raise ConfigurationError("id: is not allowed with a token that is limited to a tenant; leave it out")
        # The id is derived from the key, so that a repeated request finds the subscription of the first request, even
        # if that was not recorded.
        document.setdefault("id", str(uuid4() if call.key is None else uuid5(NAMESPACE_OID, call.key)))
        try:
            change = await self._writing.change(call.principal, lambda store: store.apply(document, ABSENT))
        except PreconditionError as error:
            raise ConflictError(str(error)) from None
        return changed(change)

    async def put_subscription(self, call: Call) -> ApiAnswer:
        """Create or replace a subscription.

        Omitted fields get their defaults, but `status` and `consumerStatus` keep their values. Masked secrets keep
        their values, too. If nothing changes, nothing is written. A new revision ends a FAILURE.
        """
        condition = await self._lookup.condition(call)
        document = within_limits(_object(call.body), call.principal)
        if document.setdefault("id", call.id) != call.id:
            raise ConfigurationError(f"id: {shown(document['id'])} is not the id in the path, {shown(call.id)}")
        change = await self._writing.change(call.principal, lambda store: store.apply(document, condition))
        return changed(change)

    async def delete_subscription(self, call: Call) -> ApiAnswer:
        """Delete a subscription. With `routing: key`, its events are dead-lettered from then on."""
        condition = await self._lookup.condition(call)
        return changed(await self._writing.change(call.principal, lambda store: store.delete(call.id, condition)))

    def _shown(
        self, subscription_id: str, state: SubscriptionState | None, principal: Principal
    ) -> dict[str, Any] | None:
        is_seen = principal.seen(self._registry.get(subscription_id)) is not None  # it may have moved to another tenant
        document = self._registry.masked(subscription_id) if is_seen else None
        if document is not None:
            routing = self._definition.stated_routing
            document["routing"] = None if routing is None else routing.value
            document["delivery"] = None if state is None else shown_state(state, with_workers=not principal.tenant)
        return document


def changed(change: Change) -> ApiAnswer:
    """The answer that describes *change*."""
    body = {"id": change.id, "result": change.what, "revision": change.revision, "warning": change.advisory}
    headers = {} if change.what == "deleted" else dict(_entity_tag(change.revision))
    if change.what != "created":
        return ApiAnswer(body, headers=headers)
    headers[hdrs.LOCATION] = f"{PATH}/{quote(change.id, safe='')}"
    return ApiAnswer(body, HTTPStatus.CREATED, headers)


def _entity_tag(revision: int) -> Mapping[str, str]:
    return {hdrs.ETAG: f'"{revision}"'}


def _object(body: object) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise ConfigurationError(f"body: must be an object, not {kind(body)}")
    return dict(body)
