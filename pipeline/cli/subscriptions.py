"""`webhooks subscriptions`: apply, list, get, delete, pause, resume, start, stop, skip, replay."""

import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path

import click

from pipeline.cli.changes import Result, change_many, change_one, sentence, shown, with_store
from pipeline.cli.events import TOPIC_OPTION, read_since, since_option, topic_option
from pipeline.cli.filters import as_filter, filter_options, matching, states_of
from pipeline.cli.listing import as_documents, as_rows, as_wide_rows, legend
from pipeline.cli.output import Format, as_json, as_yaml, ask, output_option, progress, say
from pipeline.cli.previews import Preview, preview_of_waiting
from pipeline.cli.running import configured, errors_as_sentences
from pipeline.cluster.effects import Effect, SourceOffset, effect_of_skip, effects_of_replay, offsets_since
from pipeline.cluster.positions import Position
from pipeline.cluster.rows import Noted, has_failed, read_noted
from pipeline.cluster.state import EVERY_STATE
from pipeline.config.documents import parse_documents, read_documents
from pipeline.core.errors import BrokerError, ConfigurationError, WebhooksError
from pipeline.core.shown import safe
from pipeline.core.sources import TopicPartition
from pipeline.core.subscription import Routing, Subscription
from pipeline.subscriptions.edits import Change
from pipeline.subscriptions.resolve import replay_time_ms
from pipeline.subscriptions.routing_evidence import require_routing
from pipeline.subscriptions.store import SubscriptionStore


@click.group("subscriptions")
def command() -> None:
    """Create, change and show subscriptions. Secrets are never shown.

    Each change is a new revision of the subscription, which running workers apply at once. Workers need not be running.
    """


@command.command()
@click.option("-f", "--file", "files", multiple=True, metavar="FILE", help="File to apply; may be given several times.")
@click.argument("more", nargs=-1, metavar="FILE...")
@output_option
def apply(files: tuple[str, ...], more: tuple[str, ...], output: Format) -> None:
    """Create or replace the subscriptions in YAML or JSON files, each with one or several documents or a list.

    - is standard input. Unchanged subscriptions are not written. A masked secret keeps its stored value. If one of the
    subscriptions can't be used, none is written.
    """
    if not files and not more:
        raise click.UsageError("name a file, or - for standard input")
    with errors_as_sentences():
        documents = list(_documents((*files, *more)))
    changes: list[Change] = []

    async def apply_all(store: SubscriptionStore) -> None:
        await require_routing(*configured())
        await _check_all(store, documents)
        # On a terminal the sentences already show progress.
        is_silent = output == "json" or not sys.stdout.isatty()
        try:
            with progress("writing", len(documents), is_shown=is_silent) as step:
                await write_all(store, step)
        finally:
            for change in changes:
                if change.advisory is not None:
                    say(f"{change.id}: {change.advisory}", err=True)

    async def write_all(store: SubscriptionStore, step: Callable[[int], None]) -> None:
        try:
            async for change in store.apply_all(document for _, document in documents):
                changes.append(change)
                step(1)
                if output == "table":
                    say(sentence(change))
        except WebhooksError as error:
            done = ", ".join(each.id for each in changes) or "none"
            raise BrokerError(f"{error}\nwritten before that: {len(changes)} of {len(documents)}: {done}") from error

    with_store(apply_all)
    if output == "json":
        say(as_json([shown(change) for change in changes]))


async def _check_all(store: SubscriptionStore, documents: Sequence[tuple[str, object]]) -> None:
    """Find every mistake before anything is written.

    Raises:
        ConfigurationError: there are mistakes.
    """
    problems: list[str] = []
    with progress("checking", len(documents)) as step:
        for origin, document in documents:
            try:
                await store.check(document)
            except ConfigurationError as error:
                problems.extend(f"{origin}: {problem}" for problem in error.problems)
            step(1)
    if problems:
        raise ConfigurationError([*problems, f"none of the {len(documents)} subscriptions was written"])


@command.command("list")
@filter_options
@click.option("-w", "--wide", is_flag=True, help="Cut nothing, and also show what was applied.")
@output_option
def list_(*, states: tuple[str, ...], causes: tuple[str, ...], host: str | None, wide: bool, output: Format) -> None:
    """Show how subscriptions stand: all of them, or those that match every filter.

    WAITING is how many of their events wait, ≤ at most, ? not known; OLDEST is the age of the oldest one. WHY is what
    last failed. With --output json, each is shown as it was applied, with the delivery state that the workers recorded.
    """
    wanted = as_filter(states, causes, host)
    if output == "table":
        found = states_of(wanted)
        if wide:
            applied = with_store(lambda store: store.list())
            say(as_wide_rows(found, applied, configured()[1].stated_routing, time.time()))
        else:
            say(as_rows(found, time.time()))
        return
    names = None if wanted == EVERY_STATE else matching(wanted)
    documents, noted = _with_noted(lambda store: store.list())
    documents = [each for each in documents if names is None or each["id"] in names]
    say(as_json(as_documents(documents, noted, configured()[1].stated_routing)))
    _say_where_from(noted, output)


@command.command()
@click.argument("subscription", metavar="ID")
@output_option
def get(subscription: str, output: Format) -> None:
    """Show one subscription, as YAML that can be changed and applied again, or as JSON.

    `delivery` is the state in each partition for which the workers recorded one. apply ignores it, and also start,
    createdRevision, revision and routing.
    """
    found, noted = _with_noted(lambda store: store.get(subscription), subscription)
    [document] = as_documents([found], noted, configured()[1].stated_routing)
    text = as_json(document) if output == "json" else as_yaml(document)
    say(text.rstrip("\n"))
    _say_where_from(noted, output)


@command.command()
@click.argument("subscription", metavar="ID")
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@output_option
def delete(*, subscription: str, yes: bool, output: Format) -> None:
    """Delete a subscription; with routing: key, its events are dead-lettered from then on."""
    with errors_as_sentences():
        is_keyed = configured()[1].stated_routing is Routing.KEY
    then = "Its events will be dead-lettered" if is_keyed else "It gets no more events, not even those that wait"
    if not (yes or ask(f"Delete {subscription}? {then}")):
        raise click.Abort
    change_one(lambda store: store.delete(subscription), output)


@command.command()
def reencrypt() -> None:
    """Encrypt all secrets with the first of WEBHOOKS_SECRET_KEYS, so that another key can be removed.

    Subscriptions that are already encrypted with it are not written. The others get a new revision, which clears a
    FAILURE.
    """
    problems: list[str] = []

    async def reencrypt_all(store: SubscriptionStore) -> None:
        for document in await store.list():
            try:
                say(sentence(await store.reencrypt(document["id"])))
            except ConfigurationError as error:
                problems.extend(f"{document['id']}: {problem}" for problem in error.problems)

    with_store(reencrypt_all)
    if problems:
        raise click.ClickException(safe("\n".join(problems), keep="\n"))


@command.command()
@click.argument("subscription", metavar="ID")
@output_option
def pause(subscription: str, output: Format) -> None:
    """Pause a subscription, as the publisher; its events wait."""
    change_one(lambda store: store.pause(subscription), output, preview=preview_of_waiting(subscription))


@command.command()
@click.argument("subscriptions", metavar="ID...", nargs=-1)
@click.option("--all", "is_all", is_flag=True, help="Resume every subscription that is in FAILURE.")
@output_option
def resume(*, subscriptions: tuple[str, ...], is_all: bool, output: Format) -> None:
    """Resume after a pause, a stop or a failure.

    If one of several subscriptions does not exist, none is resumed.
    """
    if bool(subscriptions) == is_all:
        raise click.UsageError("name subscriptions, or use --all")
    if len(subscriptions) == 1:
        [name] = subscriptions
        change_one(lambda store: store.resume(name), output, preview=preview_of_waiting(name))
    else:
        change_many(_failed if is_all else subscriptions, lambda store, name: store.resume(name), output)


async def _failed(store: SubscriptionStore) -> list[str]:
    """The subscriptions for which a worker has recorded a FAILURE.

    Raises:
        BrokerError: the rows can't be read.
    """
    noted = _said(await read_noted(*configured()))
    if isinstance(noted, str):
        raise BrokerError(f"can't find out which subscriptions are in FAILURE: {noted}")
    return [document["id"] for document in await store.list() if has_failed(noted.of(document["id"]))]


@command.command()
@click.argument("subscription", metavar="ID")
@output_option
def start(subscription: str, output: Format) -> None:
    """Resume after a stop or a failure, as the consumer."""
    change_one(lambda store: store.start(subscription), output, preview=preview_of_waiting(subscription))


@command.command()
@click.argument("subscription", metavar="ID")
@output_option
def stop(subscription: str, output: Format) -> None:
    """Stop a subscription, as the consumer; its events wait."""
    change_one(lambda store: store.stop(subscription), output, preview=preview_of_waiting(subscription))


@command.command()
@click.argument("subscription", metavar="ID")
@click.argument("partition", type=click.IntRange(min=0))
@click.argument("offset", type=click.IntRange(min=0))
@topic_option
@output_option
def skip(subscription: str, partition: int, offset: int, topic: str | None, output: Format) -> None:
    """Skip the event at OFFSET of PARTITION, if it is the next one there."""
    with errors_as_sentences():
        where = configured()[1].source_topic(topic, TOPIC_OPTION)

    async def effects(known: Subscription, found: list[Position]) -> list[Effect]:
        return await effect_of_skip(*configured(), known, found, (TopicPartition(where, partition), offset))

    target = SourceOffset(where, partition, offset, is_event=True)
    change_one(
        lambda store: store.skip(subscription, partition, offset, topic),
        output,
        target,
        Preview(subscription, effects),
    )


@command.command()
@click.argument("subscription", metavar="ID")
@click.option("--partition", type=click.IntRange(min=0), help="Partition of the source topic, with --offset.")
@click.option("--offset", type=click.IntRange(min=0), help="Deliver from this offset on.")
@topic_option
@since_option("Deliver from then on, in every partition")
@click.option("--discard-waiting", is_flag=True, help="Also move forward, and discard the waiting events in between.")
@output_option
def replay(
    *,
    subscription: str,
    partition: int | None,
    offset: int | None,
    topic: str | None,
    since: str | None,
    discard_waiting: bool,
    output: Format,
) -> None:
    """Deliver again from an offset of one partition, or from a time in all of them.

    A replay does not move forward over waiting events, unless --discard-waiting is set.
    """
    discards = discard_waiting or None  # None is left out of the document
    with errors_as_sentences():
        since = None if since is None else read_since(since)  # before anything is asked or written

    async def effects(known: Subscription, found: list[Position]) -> list[Effect]:
        settings, definition = configured()
        offsets: dict[TopicPartition, int | None] = {}
        if partition is not None:
            offsets[TopicPartition(definition.source_topic(topic, TOPIC_OPTION), partition)] = offset
        if since is not None:
            offsets = dict.fromkeys(each.tp for each in found)
            known_at = [each.tp for each in found if each.next is not None]
            offsets |= await offsets_since(definition, known_at, replay_time_ms(since))
        return await effects_of_replay(settings, definition, known, found, offsets, discards=discard_waiting)

    shown_first = Preview(subscription, effects, is_always_shown=discard_waiting)
    if since is not None and partition is None and offset is None and topic is None:
        change_one(
            lambda store: store.replay_since(subscription, since, discard_waiting=discards),
            output,
            preview=shown_first,
        )
    elif since is None and partition is not None and offset is not None:
        with errors_as_sentences():
            where = configured()[1].source_topic(topic, TOPIC_OPTION)
        change_one(
            lambda store: store.replay(subscription, partition, offset, topic=topic, discard_waiting=discards),
            output,
            SourceOffset(where, partition, offset),
            shown_first,
        )
    else:
        raise click.UsageError("name the start: either --partition and --offset, or --since")


def _with_noted(
    work: Callable[[SubscriptionStore], Awaitable[Result]], subscription: str | None = None
) -> tuple[Result, Noted | str]:
    """The result of *work*, and the recorded delivery state of one subscription or all."""

    async def both(store: SubscriptionStore) -> tuple[Result, Noted | str]:
        found = await work(store)
        return found, _said(await read_noted(*configured(), None if subscription is None else [subscription]))

    return with_store(both)


def _said(noted: Noted | str) -> Noted | str:
    """*noted*, after printing what could not be read."""
    for trouble in () if isinstance(noted, str) else noted.troubles:
        say(trouble, err=True)
    return noted


def _say_where_from(noted: Noted | str, output: Format) -> None:
    """Print the legend on stderr, which leaves stdout to programs; with JSON, only if the state is missing."""
    if output == "table" or isinstance(noted, str):
        say(legend(configured()[0].app, noted), err=True)


def _documents(files: Iterable[str]) -> Iterable[tuple[str, object]]:
    """The subscriptions in the files, each with its file and position for errors."""
    for name in files:
        found = parse_documents(sys.stdin.read(), "stdin") if name == "-" else read_documents(Path(name))
        documents = [each for document in found for each in (document if isinstance(document, list) else [document])]
        if not documents:
            raise ConfigurationError(f"{name}: contains no subscription")
        for number, document in enumerate(documents, 1):
            yield f"{name}: {_name(document, number)}", document


def _name(document: object, number: int) -> str:
    identity = document.get("id") if isinstance(document, dict) else None
    return identity if isinstance(identity, str) else f"document {number}"
