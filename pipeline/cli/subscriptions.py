"""`webhooks subscriptions`: apply, list, get, delete, pause, resume, start, stop, skip, replay."""

import time
from collections.abc import Awaitable, Callable, Iterable

import click

from pipeline.cli import apply, replay
from pipeline.cli.bulk import change_matching
from pipeline.cli.changes import Result, change_one, confirm_deletion, sentence, with_store
from pipeline.cli.command_group import CommandGroup
from pipeline.cli.events import OFFSET, PARTITION, TOPIC_OPTION, topic_option
from pipeline.cli.filters import as_filter, filter_options, matching, states_of
from pipeline.cli.listing import as_documents, as_rows, as_wide_rows, legend, of_other_keys
from pipeline.cli.named import change_named
from pipeline.cli.outcomes import Action
from pipeline.cli.output import Format, as_json, as_yaml, output_option, say
from pipeline.cli.previews import Preview
from pipeline.cli.running import configured
from pipeline.cli.selection import Selection, selected
from pipeline.cluster.effects import Effect, SourceOffset, effect_of_skip
from pipeline.cluster.positions import Position
from pipeline.cluster.rows import Noted, read_noted
from pipeline.cluster.state import EVERY_STATE
from pipeline.core.errors import ConfigurationError
from pipeline.core.shown import safe
from pipeline.core.sources import TopicPartition
from pipeline.core.subscription import Subscription
from pipeline.subscriptions.edits import PAUSE, RESUME, START, STOP, Edit, going_on_from
from pipeline.subscriptions.store import SubscriptionStore


@click.group("subscriptions", cls=CommandGroup)
def command() -> None:
    """Create, change and show subscriptions. Secrets are never shown.

    Each change is a new revision of the subscription. Running workers carry out the change at once; other workers do so
    when they start.
    """


@command.command("list")
@filter_options
@click.option("-w", "--wide", is_flag=True, help="Show all values in full, and also the applied configuration.")
@output_option
def list_(
    *,
    states: tuple[str, ...],
    causes: tuple[str, ...],
    host: str | None,
    metadata: dict[str, str],
    wide: bool,
    output: Format,
) -> None:
    """Show the states of all subscriptions, or of those that match every filter.

    WAITING is the number of waiting events (≤: at most, ?: unknown), OLDEST is the age of the oldest one, and WHY is
    the last failure. With --output json, subscriptions are shown as they were applied, with the delivery state that the
    workers recorded.
    """
    wanted = as_filter(states, causes, host, metadata)
    if output == "table":
        found = states_of(wanted)
        _warn_of_keys(each.problem for each in found)
        if wide:
            applied = with_store(lambda store: store.list())
            say(as_wide_rows(found, applied, configured()[1].stated_routing, time.time()))
        else:
            say(as_rows(found, time.time()))
        return
    names = None if wanted == EVERY_STATE else matching(wanted)
    documents, noted = _with_noted(lambda store: store.list())
    documents = [each for each in documents if names is None or each["id"] in names]
    _warn_of_keys(each.get("problem") for each in documents)
    say(as_json(as_documents(documents, noted, configured()[1].stated_routing)))
    _say_where_from(noted, output)


@command.command()
@click.argument("subscription", metavar="ID")
@output_option
def get(subscription: str, output: Format) -> None:
    """Show one subscription as YAML that can be changed and applied again, or as JSON.

    `delivery` shows the state in each partition for which workers recorded one. `apply` ignores the fields delivery,
    start, createdRevision, revision and routing.
    """
    found, noted = _with_noted(lambda store: store.get(subscription), subscription)
    _warn_of_keys([found.get("problem")])
    [document] = as_documents([found], noted, configured()[1].stated_routing)
    text = as_json(document) if output == "json" else as_yaml(document)
    say(text.rstrip("\n"))
    _say_where_from(noted, output)


@command.command()
@click.argument("subscription", metavar="ID")
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@output_option
def delete(*, subscription: str, yes: bool, output: Format) -> None:
    """Delete a subscription. With routing: key, its events are dead-lettered from then on."""
    if not yes:
        # If there is no such subscription, this fails before the question.
        with_store(lambda store: store.subscription(subscription))
        confirm_deletion(subscription)
    change_one(lambda store: store.delete(subscription), output)


@command.command()
def reencrypt() -> None:
    """Encrypt all secrets with the first of WEBHOOKS_SECRET_KEYS, so that the other keys can be removed.

    Subscriptions that are already encrypted with the first key are not written. All others get a new revision, which
    clears a FAILURE.
    """
    problems: list[str] = []

    async def reencrypt_all(store: SubscriptionStore) -> None:
        for document in await store.list():
            try:
                change = await store.reencrypt(document["id"])
            except ConfigurationError as error:
                problems.extend(f"{document['id']}: {problem}" for problem in error.problems)
            else:
                say(sentence(change))

    with_store(reencrypt_all)
    if problems:
        raise click.ClickException(safe("\n".join(problems), keep="\n"))


@command.command()
@selected
def pause(selection: Selection) -> None:
    """Pause subscriptions, as their publisher. Their events wait.

    With --all, all subscriptions that match every filter are paused: a preview is shown, and the subscriptions are
    saved to a file for `apply`. If one of several named subscriptions does not exist, none is changed.
    """
    _act("pause", PAUSE, selection)


@command.command()
@selected
def resume(selection: Selection) -> None:
    """Resume subscriptions after a pause, a stop or a failure. A subscription that is live is not changed.

    With --all, all subscriptions that match every filter are resumed; without a filter, all that are in FAILURE. A
    preview is shown, and the subscriptions are saved to a file for `apply`. If one of several named subscriptions does
    not exist, none is changed.
    """
    _act("resume", RESUME, selection)


@command.command()
@selected
def start(selection: Selection) -> None:
    """Resume subscriptions after a stop or a failure, as their consumer. In all other respects the same as `resume`."""
    _act("start", START, selection)


@command.command()
@selected
def stop(selection: Selection) -> None:
    """Stop subscriptions, as their consumer. Their events wait. In all other respects the same as `pause`."""
    _act("stop", STOP, selection)


def _act(action: Action, edit: Edit, selection: Selection) -> None:
    if selection.wanted is None:
        change_named(action, edit, selection)
    else:
        change_matching(action, edit, selection)


@command.command()
@click.argument("subscription", metavar="ID")
@click.argument("partition", type=PARTITION)
@click.argument("offset", type=OFFSET)
@topic_option
@output_option
def skip(subscription: str, partition: int, offset: int, topic: str | None, output: Format) -> None:
    """Skip the event at OFFSET of PARTITION, which must be the next event of the subscription in this partition."""
    definition = configured()[1]
    where = definition.source_topic(topic, TOPIC_OPTION)
    edit = going_on_from({"skip": {"topic": topic, "partition": partition, "offset": offset}}, definition)

    async def effects(known: Subscription, found: list[Position]) -> list[Effect]:
        return await effect_of_skip(*configured(), known, found, (TopicPartition(where, partition), offset))

    target = SourceOffset(where, partition, offset, is_event=True)
    change_one(lambda store: store.edit(subscription, edit), output, Preview(subscription, effects, target))


command.add_command(apply.command)
command.add_command(replay.command)


def _with_noted(
    work: Callable[[SubscriptionStore], Awaitable[Result]], subscription: str | None = None
) -> tuple[Result, Noted | str]:
    """Return the result of *work*, and the recorded delivery state of one subscription or of all."""

    async def both(store: SubscriptionStore) -> tuple[Result, Noted | str]:
        found = await work(store)
        return found, _said(await read_noted(*configured(), None if subscription is None else [subscription]))

    return with_store(both)


def _warn_of_keys(problems: Iterable[str | None]) -> None:
    warning = of_other_keys(problems)
    if warning is not None:
        say(warning, err=True)


def _said(noted: Noted | str) -> Noted | str:
    """Print what could not be read, and return *noted*."""
    for trouble in () if isinstance(noted, str) else noted.troubles:
        say(trouble, err=True)
    return noted


def _say_where_from(noted: Noted | str, output: Format) -> None:
    """Print the legend to stderr, because programs read stdout. With JSON, print it only if the state is missing."""
    if output == "table" or isinstance(noted, str):
        say(legend(configured()[0].app, noted), err=True)
