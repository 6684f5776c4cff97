"""The actions on a subscription. Each writes a new revision, and reports its effect in each partition."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final

from pipeline.cluster.effects import (
    Effect,
    SourceOffset,
    check_exists,
    effect_of_skip,
    effects_of_replay,
    offsets_since,
)
from pipeline.cluster.positions import Position, find_positions
from pipeline.config.definition import Definition
from pipeline.config.settings import Settings
from pipeline.core.errors import BrokerError, ConflictError
from pipeline.core.shown import shown
from pipeline.core.sources import TopicPartition
from pipeline.core.subscription import Subscription
from pipeline.subscriptions.edits import PAUSE, RESUME, START, STOP, Change, Edit, going_on_from
from pipeline.subscriptions.resolve import replay_time_ms
from pipeline.subscriptions.store import SubscriptionStore
from pipeline.web.api.lookup import Lookup
from pipeline.web.api.models import Acted, ConsumerStatusQuery, Replay, Skip
from pipeline.web.api.operations import ApiAnswer, Call, Operation
from pipeline.web.api.states import View, as_needed, is_in_failure, shown_waiting
from pipeline.web.api.subscriptions import ONE, changed
from pipeline.web.api.writing import Writing
from pipeline.web.tenant_limits import Turns

FIND_SECONDS: Final = 15.0
"""The time limit for computing the effects.

If it is reached, the action is carried out, and its effects are unknown.
"""

FindEffects = Callable[[Subscription, list[Position]], Awaitable[list[Effect]]]


class Actions:
    """The operations that act on one subscription.

    Args:
        lookup: finds the subscriptions that a principal may see.
        writing: makes changes.
    """

    def __init__(
        self, settings: Settings, definition: Definition, lookup: Lookup, writing: Writing, view: View
    ) -> None:
        self._settings = settings
        self._lookup = lookup
        self._definition = definition
        self._writing = writing
        self._view = view
        # Actions are limited, because reading the log to count events takes CPU time from deliveries.
        self._turns = Turns("actions are waiting")

    def operations(self) -> Sequence[Operation]:
        """The operations with their paths."""

        def action(name: str, handler: Callable[[Call], Awaitable[ApiAnswer]], **more: Any) -> Operation:
            conflict = (HTTPStatus.CONFLICT,)
            return Operation(
                "POST", f"{ONE}/{name}", handler, {HTTPStatus.OK: Acted}, scope="write", problems=conflict, **more
            )

        return (
            action("_pause", self.pause_subscription),
            action("_resume", self.resume_subscription),
            action("_start", self.start_subscription),
            action("_stop", self.stop_subscription),
            action("_skip", self.skip_event, body=Skip, is_body_recorded=True),
            action("_replay", self.replay_subscription, body=Replay, is_body_recorded=True),
            action("_resumeFailure", self.resume_failure),
            action("_changeConsumerStatus", self.change_consumer_status, query=ConsumerStatusQuery),
        )

    async def pause_subscription(self, call: Call) -> ApiAnswer:
        """Pause a subscription as its publisher. Its events wait."""
        return await self._act(call, PAUSE)

    async def resume_subscription(self, call: Call) -> ApiAnswer:
        """Resume a subscription after a pause, a stop or a FAILURE, beginning with its first waiting event.

        A subscription that is live and not in a slow start is not changed.
        """
        return await self._act(call, as_needed(RESUME, self._view, call.id))

    async def start_subscription(self, call: Call) -> ApiAnswer:
        """Resume a subscription after a stop or a FAILURE, as its consumer. Otherwise the same as `_resume`."""
        return await self._act(call, as_needed(START, self._view, call.id))

    async def stop_subscription(self, call: Call) -> ApiAnswer:
        """Stop a subscription as its consumer. Its events wait."""
        return await self._act(call, STOP)

    async def resume_failure(self, call: Call) -> ApiAnswer:
        """Resume a subscription in FAILURE, like Gravitee's action of this name. In other states, this is an error."""
        await self._lookup.find(call)
        if is_in_failure(self._view, call.id) is False:
            raise ConflictError(f"status: subscription {shown(call.id)} is not in FAILURE; nothing was changed")
        return await self._act(call, RESUME)

    async def change_consumer_status(self, call: Call) -> ApiAnswer:
        """Start or stop a subscription that is not in FAILURE, like Gravitee's action of this name."""
        query: ConsumerStatusQuery = call.query
        await self._lookup.find(call)
        if is_in_failure(self._view, call.id):
            raise ConflictError(
                f"status: subscription {shown(call.id)} is in FAILURE; allowed: _resumeFailure; nothing was changed"
            )
        if query.status == "STOPPED":
            return await self.stop_subscription(call)
        return await self.start_subscription(call)

    async def skip_event(self, call: Call) -> ApiAnswer:
        """Skip one event, which must be the subscription's next event in its partition."""
        skip: Skip = call.body
        topic, partition, offset = self._definition.source_topic(skip.topic, "topic"), skip.partition, skip.offset
        await self._lookup.find(call)
        await check_exists(self._definition, SourceOffset(topic, partition, offset, is_event=True))

        async def effects(known: Subscription, found: list[Position]) -> list[Effect]:
            skipped = TopicPartition(topic, partition), offset
            return await effect_of_skip(self._settings, self._definition, known, found, skipped)

        where = {"skip": {"topic": skip.topic, "partition": partition, "offset": offset}}
        return await self._act(call, going_on_from(where, self._definition), effects)

    async def replay_subscription(self, call: Call) -> ApiAnswer:
        """Deliver events again, from an offset of one partition or from a time in all partitions.

        Unless `discardWaiting` is true, a replay never skips waiting events. With `dryRun`, nothing is changed, and the
        answer shows the effect that the replay would have.
        """
        replay: Replay = call.body
        discards = replay.discard_waiting
        await self._lookup.find(call)
        if replay.partition is not None and replay.offset is not None:
            topic = self._definition.source_topic(replay.topic, "topic")
            await check_exists(self._definition, SourceOffset(topic, replay.partition, replay.offset))

        async def effects(known: Subscription, found: list[Position]) -> list[Effect]:
            offsets = await self._offsets(replay, found)
            return await effects_of_replay(
                self._settings, self._definition, known, found, offsets, discards=discards, option="discardWaiting"
            )

        where = replay.model_dump(by_alias=True, exclude={"dry_run", "discard_waiting"}, exclude_none=True)
        edit = going_on_from({**where, "discardWaiting": discards or None}, self._definition)
        return await self._act(call, edit, effects, dry_run=replay.dry_run)

    async def _offsets(self, replay: Replay, found: Sequence[Position]) -> Mapping[TopicPartition, int | None]:
        if replay.timestamp is None:
            topic = self._definition.source_topic(replay.topic, "topic")
            return {} if replay.partition is None else {TopicPartition(topic, replay.partition): replay.offset}
        known_at = [each.tp for each in found if each.next is not None]
        since = await offsets_since(self._definition, known_at, replay_time_ms(replay.timestamp))
        return {each.tp: since.get(each.tp) for each in found}

    async def _act(
        self, call: Call, edit: Edit, effects: FindEffects | None = None, *, dry_run: bool = False
    ) -> ApiAnswer:
        own = replace(edit, seen=call.principal.seen)

        async def work(store: SubscriptionStore) -> ApiAnswer:
            known = await self._lookup.find(call)
            waiting = shown_waiting(self._view, call.id)
            preview: Mapping[str, Any] = {}
            if effects is not None:
                preview = await self._preview(call, known, effects)
                known = await self._lookup.find(call)  # the principal may have lost access
            change = Change(known.id, known.revision, "unchanged") if dry_run else await store.edit(call.id, own)
            answer = changed(change)
            return ApiAnswer({**answer.body, **waiting, **preview}, headers=answer.headers)

        return await self._writing.change(call.principal, work)

    async def _preview(self, call: Call, known: Subscription, effects: FindEffects) -> dict[str, Any]:
        """The effect in each partition, or why the effects are unknown."""
        try:
            async with asyncio.timeout(FIND_SECONDS), self._turns.turn(call.principal):
                found = await find_positions(self._settings, self._definition, [known])
                those = await effects(known, found[known.id])
        except TimeoutError:
            return {"partitions": None, "problem": f"the brokers did not answer within {FIND_SECONDS:.0f} s"}
        except BrokerError as error:
            return {"partitions": None, "problem": str(error)}
        return {
            "partitions": [
                {"topic": each.topic, "partition": each.partition, "sentence": each.sentence, **each.facts}
                for each in those
            ]
        }
