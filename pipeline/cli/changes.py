"""Makes changes of subscriptions for commands, and shows them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import click

from pipeline.cli.outcomes import Outcomes
from pipeline.cli.output import Format, as_json, ask, say
from pipeline.cli.previews import Preview, preview_as_json, show_waiting
from pipeline.cli.recording import record
from pipeline.cli.running import configured
from pipeline.cluster.effects import Effect
from pipeline.core.errors import BrokerError, WebhooksError
from pipeline.core.subscription import Routing
from pipeline.subscriptions.edits import Change
from pipeline.subscriptions.session import opened_store
from pipeline.subscriptions.store import SubscriptionStore

Result = TypeVar("Result")


def with_store(work: Callable[[SubscriptionStore], Awaitable[Result]]) -> Result:
    """Call *work* with a store that has read all subscriptions, and return its result. Expected errors end the program.

    The changes are recorded in the audit log.
    """

    async def run() -> Result:
        settings, definition = configured()
        written: dict[str, int] = {}
        try:
            async with opened_store(settings, definition, written.__setitem__) as store:
                return await work(store)
        finally:
            if written:
                await record(settings, definition, {"changed": len(written)}, written)

    return asyncio.run(run())


def change_one(
    work: Callable[[SubscriptionStore], Awaitable[Change]],
    output: Format,
    preview: Preview | None = None,
    outcomes: Outcomes | None = None,
) -> None:
    """Show the *preview*, make a change, print the change, and wait for its outcome."""

    async def previewed(store: SubscriptionStore) -> tuple[Change, list[Effect] | str | None]:
        effects = None if preview is None else await preview.show(store, output)
        return await work(store), effects

    change, effects = with_store(previewed)
    if output == "table":
        say(sentence(change))
    warn(change.id, change.advisory)
    after = {} if outcomes is None else outcomes.look([change])
    if output == "json":
        say(as_json({**shown(change), **preview_as_json(effects), **({"after": after[change.id]} if after else {})}))


def preview_one(preview: Preview, output: Format) -> None:
    """Show the *preview*, without making the change."""
    effects = with_store(lambda store: preview.show(store, output))
    if output == "json":
        say(as_json({"id": preview.subscription, **preview_as_json(effects), "dryRun": True}))


def change_many(
    names: Sequence[str],
    work: Callable[[SubscriptionStore, str], Awaitable[Change]],
    output: Format,
    outcomes: Outcomes,
) -> None:
    """Show how many events wait, make a change to several subscriptions, print each change, and wait for the outcomes.

    Args:
        names: the ids of the subscriptions.
        work: changes one subscription.
        output: the output format; JSON is a list.
        outcomes: waits for the outcomes.
    """
    changes: list[Change] = []
    effects: dict[str, list[Effect]] | str = {}

    async def make(store: SubscriptionStore) -> None:
        nonlocal effects
        known = [await store.subscription(each) for each in names]
        effects = await show_waiting(known, output)
        for each in known:
            try:
                changes.append(await work(store, each.id))
            except WebhooksError as error:
                done = ", ".join(change.id for change in changes) or "none"
                raise BrokerError(f"{each.id}: {error}\nchanged before that: {done}") from error
            if output == "table":
                say(sentence(changes[-1]))
            warn(each.id, changes[-1].advisory)

    with_store(make)
    after = outcomes.look(changes)
    if output == "json":
        found = effects
        of_each = {each.id: found if isinstance(found, str) else found.get(each.id) for each in changes}
        states = {name: {"after": state} for name, state in after.items()}
        say(
            as_json(
                [{**shown(each), **preview_as_json(of_each[each.id]), **states.get(each.id, {})} for each in changes]
            )
        )


def confirm_deletion(what: str) -> None:
    """Ask whether to delete *what*.

    Raises:
        Abort: the answer is no.
    """
    is_keyed = configured()[1].stated_routing is Routing.KEY
    then = (
        "Waiting and future events are dead-lettered"
        if is_keyed
        else "No more events are sent, not even those already waiting"
    )
    if not ask(f"Delete {what}? {then}"):
        raise click.Abort


def warn(name: str, advisory: str | None) -> None:
    """Print the warning about a subscription, if there is one, to stderr, because programs read stdout."""
    if advisory is not None:
        say(f"{name}: {advisory}", err=True)


def sentence(change: Change) -> str:
    """The change as text for people."""
    return f"{change.id} {change.what}, revision {change.revision}"


def shown(change: Change) -> dict[str, object]:
    """The change as JSON."""
    return {"id": change.id, "result": change.what, "revision": change.revision}
