"""`webhooks event`: shows what became of an event."""

import asyncio
from collections.abc import Sequence
from shlex import quote
from typing import Final

import click

from pipeline.cli.attempts import COLUMNS as ENTRY_COLUMNS
from pipeline.cli.attempts import rows
from pipeline.cli.output import Format, as_json, as_table, output_option, say
from pipeline.cli.running import configured
from pipeline.cluster.attempt_search import AttemptSearch
from pipeline.cluster.fate import Fate
from pipeline.core.clock import rfc3339
from pipeline.subscriptions.session import opened_registry

MOST_EXPLAINED: Final = 3
"""For how many subscriptions that keep the event the next command is printed."""
COLUMNS: Final = ("SUBSCRIPTION", "FATE", "WHEN", "WHY")


@click.command("event")
@click.argument("webhook_id", metavar="WEBHOOK-ID")
@click.option("--subscription", metavar="ID", help="Show the result for this subscription only.")
@output_option
def command(webhook_id: str, subscription: str | None, output: Format) -> None:
    """Show what became of the event WEBHOOK-ID (topic-partition-offset).

    FATE is delivered, waiting, dead-lettered, skipped, dropped (WHY is the rule), filtered, expired (the attempt log no
    longer has entries about the event) or unknown (WHY is the reason). The entries of the attempt log follow. Instead
    of the webhook-id, you can give a position that `dlq redrive` printed.
    """
    fates = asyncio.run(_fates(webhook_id, subscription))
    first = fates[0].webhook_id if fates else webhook_id
    if first != webhook_id:
        say(f"{webhook_id} was written by a redrive; its webhook-id is {first}", err=True)
    if output == "json":
        say(as_json([each.as_document() for each in fates]))
        return
    say(as_table(COLUMNS, [_row(each) for each in fates]))
    waiting = [each.subscription for each in fates if each.status == "waiting" and each.subscription is not None]
    for name in waiting[:MOST_EXPLAINED]:
        say(f"what to do about it: webhooks explain {quote(name)}", err=True)
    entries = [entry for each in fates for entry in each.entries]
    if entries:
        say("")
        say(as_table(("SUBSCRIPTION", *ENTRY_COLUMNS), _entry_rows(fates)))


def _entry_rows(fates: Sequence[Fate]) -> list[tuple[object, ...]]:
    return [(each.subscription, *row) for each in fates for row in rows(each.entries)]


def _row(fate: Fate) -> tuple[object, ...]:
    return fate.subscription, fate.status, None if fate.at is None else rfc3339(fate.at, "milliseconds"), fate.why


async def _fates(webhook_id: str, subscription: str | None) -> list[Fate]:
    settings, definition = configured()
    async with opened_registry(settings, definition) as registry:
        search = AttemptSearch(definition, settings.app, registry, settings.webhook_ids)
        return await search.fate(webhook_id, subscription)
