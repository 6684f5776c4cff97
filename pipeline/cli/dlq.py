"""`webhooks dlq`: lists dead letters, and writes them back to the source topic."""

import asyncio
import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Final, get_args

import click

from pipeline.cli import dlq_show
from pipeline.cli.command_group import CommandGroup
from pipeline.cli.events import since_ms, since_option
from pipeline.cli.existing import require_subscription
from pipeline.cli.output import Format, as_json, as_table, output_option, printable, say
from pipeline.cli.recording import record
from pipeline.cli.running import configured
from pipeline.cluster import dead_letters
from pipeline.config.definition import Definition
from pipeline.config.settings import Settings
from pipeline.core.policy import Reason
from pipeline.kafka.letters import LetterFacts, LetterFilter
from pipeline.kafka.redrive import Redriven, Scope

COLUMNS = ("DEAD-LETTER", "WHEN", "SUBSCRIPTION", "REASON", "STATUS", "REDRIVEN", "ATTEMPTS", "WEBHOOK-ID", "ERROR")

AGAIN: Final = "create it first: without it, its dead letters would be dead-lettered again"

limit_option = click.IntRange(min=1)


@click.group("dlq", cls=CommandGroup)
def command() -> None:
    """Show dead letters, or redrive them: deliver their events again."""


command.add_command(dlq_show.command)


@command.command("list")
@click.option(
    "--limit", type=limit_option, default=50, show_default=True, metavar="N", help="Show at most N dead letters."
)
@click.option("--subscription", metavar="ID", help="Show only dead letters of this subscription.")
@click.option("--reason", type=click.Choice(get_args(Reason)), help="Show only dead letters with this reason.")
@since_option("Show only dead letters written since this time")
@output_option
def list_(limit: int, subscription: str | None, reason: Reason | None, since: str | None, output: Format) -> None:
    """Show the newest dead letters, newest first, without the bodies and headers of events.

    DEAD-LETTER is the position in the dead-letter topic, the argument of `show`. WEBHOOK-ID identifies the event.
    REDRIVEN is "yes" if `redrive` has written the dead letter back, and Kafka still stores the progress of that run.
    """
    wanted = LetterFilter(subscription, reason, None if since is None else since_ms(since))
    settings, definition = configured()
    # One letter more than is shown is read, to find out whether there are more.
    letters, troubles = asyncio.run(dead_letters.newest_letters(definition, settings.app, limit + 1, wanted))
    for trouble in troubles:
        say(trouble, err=True)
    if subscription is not None and not letters:
        asyncio.run(require_subscription(settings, definition, subscription, ", and no such dead letter names it"))
    if len(letters) > limit:
        letters = letters[:limit]
        say(f"there are more: these are the newest {limit}; --limit N shows up to N", err=True)
    if output == "json":
        say(as_json([letter.as_document() for letter in letters]))
    else:
        say(as_table(COLUMNS, [_row(*letter) for letter in letters]))


@command.command()
@click.option("--subscription", metavar="ID", help="Redrive all dead letters of this subscription and no others.")
@click.option("--skipped", is_flag=True, help="Redrive only dead letters that a run without options skips.")
@click.option("--limit", type=limit_option, help="Redrive at most N dead letters.", metavar="N")
@click.option("--dry-run", is_flag=True, help="Print what would be done, and write nothing.")
@output_option
def redrive(*, subscription: str | None, skipped: bool, limit: int | None, dry_run: bool, output: Format) -> None:
    """Write dead letters back to the source topic. Receivers get the events with their original webhook-ids.

    With --subscription, it is an error if the subscription does not exist.

    A redriven event goes only to the subscription that did not get it. With routing: match, the filter of that
    subscription does not matter.

    No dead letter is redriven twice, even with other options: consumer groups with the prefix <app>.redrive store the
    positions. There are two exceptions. Kafka deletes positions after offsets.retention.minutes without a run, a week
    by default. And two runs at the same time may both redrive a dead letter.

    A run without options skips dead letters of unknown subscriptions and dead letters without a usable key, because
    they would be dead-lettered again. To redrive them, create the subscription and name it with --subscription, or use
    --skipped.

    With --output json, standard output has one JSON object for each dead letter, on a line of its own.
    """
    if subscription is not None and skipped:
        raise click.UsageError(
            "--skipped is not needed: --subscription also redrives dead letters that are otherwise skipped"
        )
    settings, definition = configured()
    if subscription is not None:
        dead_letters.dead_letter_topic(definition)
        unknown = asyncio.run(require_subscription(settings, definition, subscription, advice=AGAIN))
        if unknown is not None:
            say(unknown, err=True)
    line_of = _document if output == "json" else partial(_line, dry_run=dry_run)
    scope = Scope(subscription, skipped)
    counts = asyncio.run(_redrive(settings, definition, scope, limit=limit, dry_run=dry_run, line_of=line_of))
    done, passed_over, duplicates = counts
    verb = "would be redriven" if dry_run else "redriven"
    was = verb if dry_run else "was redriven"
    twice = f" ({duplicates} of these because another dead letter of the same event {was})" if duplicates else ""
    say(f"{done} {verb}, {passed_over} skipped{twice}", err=output == "json")


async def _redrive(
    settings: Settings,
    definition: Definition,
    scope: Scope,
    *,
    limit: int | None,
    dry_run: bool,
    line_of: Callable[[Redriven], str],
) -> tuple[int, int, int]:
    redriven = skipped = duplicates = 0
    async with dead_letters.redrive(settings, definition, scope, limit=limit, dry_run=dry_run) as run:
        for trouble in run.reader.troubles:
            say(trouble, err=True)
        try:
            async for result in run.run():
                say(line_of(result))
                redriven += result.why_not is None
                skipped += result.why_not is not None
                duplicates += result.is_duplicate
        finally:
            if redriven and not dry_run:
                await record(settings, definition, {"changed": redriven, "body": dataclasses.asdict(scope)})
    return redriven, skipped, duplicates


def _document(result: Redriven) -> str:
    return as_json(result.as_document(), indent=None)


def _line(result: Redriven, *, dry_run: bool) -> str:
    letter = result.letter
    name = printable(letter.subscription)
    if result.why_not is not None:
        return f"{'would skip' if dry_run else 'skipped'} {letter.place} {name}: {printable(result.why_not)}"
    if dry_run:
        return f"would redrive {letter.place} {name} (reason {printable(letter.reason)})"
    return f"redriven {letter.place} {name} -> {result.place}, webhook-id {printable(result.webhook_id)}"


def _row(letter: LetterFacts, redriven: bool | None) -> tuple[object, ...]:
    return (
        letter.place,
        letter.at,
        letter.subscription,
        letter.reason,
        letter.status,
        "?" if redriven is None else "yes" if redriven else None,
        letter.attempts,
        letter.webhook_id,
        letter.error,
    )
