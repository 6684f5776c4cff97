"""Changes of subscriptions as commands make and show them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pipeline.cli.effects import Effect, Preview, preview_as_json, show_waiting
from pipeline.cli.output import Format, as_json, say
from pipeline.cli.running import configured, errors_as_sentences
from pipeline.core.errors import BrokerError, ConfigurationError, WebhooksError
from pipeline.kafka.topics import end_offset, partitions_of
from pipeline.subscriptions.session import opened_store
from pipeline.subscriptions.store import Change, SubscriptionStore

Result = TypeVar("Result")


def with_store(work: Callable[[SubscriptionStore], Awaitable[Result]]) -> Result:
    """The result of *work* with a store that has read all subscriptions; expected errors end the program."""

    async def run() -> Result:
        async with opened_store(*configured()) as store:
            return await work(store)

    with errors_as_sentences():
        return asyncio.run(run())


@dataclass(frozen=True, slots=True)
class SourceOffset:
    """An offset of the source topic; with *is_event* there must be an event, so the end does not count."""

    partition: int
    offset: int
    is_event: bool = False


def change_one(
    work: Callable[[SubscriptionStore], Awaitable[Change]],
    output: Format,
    target: SourceOffset | None = None,
    preview: Preview | None = None,
) -> None:
    """Make the change, and print it. Before that, check that *target* exists, then show the *preview*."""

    async def checked(store: SubscriptionStore) -> tuple[Change, list[Effect] | str | None]:
        known = None if preview is None else await store.subscription(preview.subscription)
        if target is not None:
            await _check_exists(target)
        effects = None if preview is None or known is None else await preview.show(known, output)
        return await work(store), effects

    change, effects = with_store(checked)
    if output == "json":
        say(as_json({**shown(change), **preview_as_json(effects)}))
    else:
        say(sentence(change))


def change_many(
    names: Sequence[str] | Callable[[SubscriptionStore], Awaitable[Sequence[str]]],
    work: Callable[[SubscriptionStore, str], Awaitable[Change]],
    output: Format,
) -> None:
    """Make a change to several subscriptions, and print each. Before that, show the events that wait for them.

    Args:
        names: their ids, or how to find them.
        work: makes the change to one of them.
        output: JSON is a list.
    """
    changes: list[Change] = []
    effects: dict[str, list[Effect]] | str = {}

    async def make(store: SubscriptionStore) -> None:
        nonlocal effects
        ids = await names(store) if callable(names) else names
        known = [await store.subscription(each) for each in dict.fromkeys(ids)]
        effects = await show_waiting(known, output) if known else {}
        for each in known:
            try:
                changes.append(await work(store, each.id))
            except WebhooksError as error:
                done = ", ".join(change.id for change in changes) or "none"
                raise BrokerError(f"{each.id}: {error}\nchanged before that: {done}") from error
            if output == "table":
                say(sentence(changes[-1]))

    with_store(make)
    if output == "json":
        found = effects
        of_each = {each.id: found if isinstance(found, str) else found.get(each.id) for each in changes}
        say(as_json([{**shown(each), **preview_as_json(of_each[each.id])} for each in changes]))
    elif not changes:
        say("no subscription to change", err=True)


async def _check_exists(target: SourceOffset) -> None:
    _, definition = configured()
    source = definition.source
    found = await partitions_of(source.connection, source.topic)
    if target.partition >= found.count:
        raise ConfigurationError(
            f"partition: {target.partition} is not in topic {source.topic}; allowed: 0 to {found.count - 1}"
        )
    if target.partition in found.leaderless:
        raise BrokerError(f"topic {source.topic}: partition {target.partition} has no leader; nothing was changed")
    end = await end_offset(source.connection, source.topic, target.partition)
    last = end - target.is_event
    if target.offset > last:
        allowed = f"0 to {last}" if last >= 0 else "none, because it has no events"
        raise ConfigurationError(
            f"offset: {target.offset} is not in partition {target.partition} of topic {source.topic}; "
            f"allowed: {allowed}"
        )


def sentence(change: Change) -> str:
    """The change for people."""
    return f"{change.id} {change.what}, revision {change.revision}"


def shown(change: Change) -> dict[str, object]:
    """The change as JSON."""
    return {"id": change.id, "result": change.what, "revision": change.revision}
