"""The operations on events: finding the subscriptions that would get an event, and sending a test event."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from pipeline.cluster.sending import addressed, send
from pipeline.cluster.verdicts import Verdict, verdicts
from pipeline.config.definition import Definition
from pipeline.config.settings import Settings
from pipeline.core.errors import ConfigurationError, UnconfirmedError
from pipeline.core.model import PlainEvent
from pipeline.core.subscription import Routing
from pipeline.core.webhook_ids import own_id
from pipeline.subscriptions.registry import Registry
from pipeline.web.api.event_models import Match, Matched, Sent, TestEvent
from pipeline.web.api.lookup import Lookup
from pipeline.web.api.operations import ApiAnswer, Call, Operation
from pipeline.web.api.subscriptions import ONE
from pipeline.web.principal import Principal
from pipeline.web.tenant_limits import Turns

STEP: Final = 200
"""How many subscriptions are matched at a time, before deliveries get their turn."""
SEND_SECONDS: Final = 15.0
TEST_HEADER: Final = ("webhooks-test", b"true")
TEST_VALUE: Final = {"type": "webhooks.test", "data": {"message": "This is a test event."}}


class EventOperations:
    """The operations on events.

    Args:
        lookup: finds subscriptions in `registry`.
    """

    def __init__(self, settings: Settings, definition: Definition, registry: Registry, lookup: Lookup) -> None:
        self._ids = settings.webhook_ids
        self._definition = definition
        self._registry = registry
        self._lookup = lookup
        self._matching = Turns("events are waiting to be matched")
        self._sending = Turns("test events are waiting")

    def operations(self) -> Sequence[Operation]:
        """The operations with their paths."""
        ok = HTTPStatus.OK
        return (
            Operation("POST", "/api/match", self.match_event, {ok: Matched}, body=Match),
            Operation("POST", f"{ONE}/_test", self.send_test_event, {ok: Sent}, body=TestEvent, scope="write"),
        )

    async def match_event(self, call: Call) -> ApiAnswer:
        """Show which subscriptions would get an event, and why others would not. Nothing is written.

        Subscriptions that would get the event come first. At most `limit` subscriptions are shown. With the headers of
        a redriven event, the answer is for the subscription that the event was written for.
        """
        asked: Match = call.body
        topic = self._definition.source_topic(asked.topic, "topic")
        by_key = self._definition.routing is Routing.KEY
        if by_key and asked.key is None:
            raise ConfigurationError(
                "key: is required with routing: key, because the key of an event is the id of its subscription"
            )
        key = None if asked.key is None else asked.key.encode()
        event = PlainEvent(topic, 0, 0, key, _value(asked.value), _pairs(asked.headers))
        ids = [asked.key or ""] if by_key else self._registry.ids()
        async with self._matching.turn(call.principal):
            getting, others, total = await self._verdicts(ids, event, asked.limit, call.principal)
        return ApiAnswer(
            {
                "topic": topic,
                "routing": self._definition.routing.value,
                "matched": len(getting),
                "total": total,
                "subscriptions": [each.as_document() for each in [*getting, *others][: asked.limit]],
            }
        )

    async def _verdicts(
        self, ids: Sequence[str], event: PlainEvent, limit: int, principal: Principal
    ) -> tuple[list[Verdict], list[Verdict], int]:
        getting: list[Verdict] = []
        others: list[Verdict] = []
        total = 0
        for start in range(0, len(ids), STEP):
            some = [
                found
                for name in ids[start : start + STEP]
                if (found := principal.seen(self._registry.get(name))) is not None
            ]
            total += len(some)
            for each in verdicts(some, event, self._ids if self._definition.routing is Routing.MATCH else None):
                if each.gets_it:
                    getting.append(each)
                elif len(others) < limit:
                    others.append(each)
            await asyncio.sleep(0)
        return getting, others, total

    async def send_test_event(self, call: Call) -> ApiAnswer:
        """Write a test event for one subscription to the source topic, after all waiting events.

        The test event is delivered like any other event, with the record header `webhooks-test: true`. With
        `routing: match`, only this subscription gets it, regardless of filters. `webhookId` identifies the event.
        """
        asked: TestEvent = call.body
        await self._lookup.find(call)
        topic = self._definition.source_topic(asked.topic, "topic")
        value = _value(TEST_VALUE if asked.value is None else asked.value)
        headers = [*_pairs(asked.headers), TEST_HEADER]
        if self._definition.routing is Routing.MATCH:
            headers = addressed(self._ids, call.id, value, headers)
        try:
            async with self._sending.turn(call.principal), asyncio.timeout(SEND_SECONDS):
                written = await send(self._definition.source, PlainEvent(topic, 0, 0, call.id.encode(), value, headers))
        except TimeoutError:
            raise UnconfirmedError(
                f"topic {topic}: the broker did not confirm the event within "
                f"{SEND_SECONDS:.0f} s; it may still be written"
            ) from None
        return ApiAnswer({"id": call.id, "webhookId": own_id(written)})


def _value(value: Any) -> bytes:
    """The body for a value: a string unchanged, any other value as JSON."""
    return (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).encode()


def _pairs(headers: Mapping[str, str]) -> list[tuple[str, bytes]]:
    return [(name, value.encode()) for name, value in headers.items()]
