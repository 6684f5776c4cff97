"""`webhooks attempts`: the newest attempts of a subscription, from the attempt log."""

import asyncio
from collections.abc import Iterable
from typing import Final

import click

from pipeline.cli.listing import cut
from pipeline.cli.output import Format, as_json, as_table, output_option, printable, say
from pipeline.cli.running import configured
from pipeline.cluster.attempt_pages import AttemptPage
from pipeline.cluster.attempt_search import AttemptSearch
from pipeline.cluster.attempts import Entry
from pipeline.core.clock import rfc3339
from pipeline.core.errors import ConfigurationError
from pipeline.core.shown import shown
from pipeline.subscriptions.session import opened_registry

COLUMNS: Final = ("WHEN", "WEBHOOK-ID", "ATTEMPT", "RESULT", "STATUS", "MS", "HOST", "WHY")
LONGEST_RESPONSE: Final = 80


@click.command("attempts")
@click.argument("subscription", metavar="ID")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, metavar="N", help="Show at most N attempts."
)
@click.option("--after", metavar="NEXT", help="Continue after this position, which the last line of a page shows.")
@output_option
def command(subscription: str, limit: int, after: str | None, output: Format) -> None:
    """Show the newest attempts of subscription ID, newest first.

    Dead letters, skips and drops of its events are shown too. RESULT is delivered, retry, dead-letter (to be written),
    dead-lettered (confirmed), failure (the subscription is in FAILURE), skipped or dropped. Times of deliveries may be
    up to a fifth of a second late. The command reads the log for at most ten seconds, and says how far back it read.
    """
    page = asyncio.run(_attempts(subscription, after, limit))
    if output == "json":
        say(as_json(page.as_document()))
        return
    if page.items:
        say(as_table(COLUMNS, rows(page.items)))
    if page.next is not None:
        back_to = "" if page.searched_to is None else f"the log was read back to {rfc3339(page.searched_to)}; "
        say(f"{back_to}to continue, use --after {page.next}", err=True)
    elif not page.items:
        say(f"the attempt log has no entry about the subscription {printable(subscription)}", err=True)


async def _attempts(subscription: str, after: str | None, limit: int) -> AttemptPage:
    settings, definition = configured()
    async with opened_registry(settings, definition) as registry:
        search = AttemptSearch(definition, settings.app, registry, settings.webhook_ids)
        page = await search.attempts(subscription, after, limit)
        if not page.items and page.next is None and registry.get(subscription) is None:
            raise ConfigurationError(f"there is no subscription {shown(subscription)}, and no attempt of it in the log")
        return page


def rows(entries: Iterable[Entry]) -> list[tuple[object, ...]]:
    """The rows of the table."""
    return [_row(entry) for entry in entries]


def _row(entry: Entry) -> tuple[object, ...]:
    result = entry.result
    return (
        rfc3339(result.at, "milliseconds"),
        entry.webhook_id,
        result.attempt,
        result.decision,
        result.status,
        result.duration_ms,
        result.host,
        _why(entry),
    )


def _why(entry: Entry) -> str | None:
    result = entry.result
    due = None if result.next_at is None else f"again at {rfc3339(result.next_at)}"
    # Responses are cut, because they may be long. Errors are not, because they end with advice.
    response = None if result.response is None else cut(result.response, LONGEST_RESPONSE)
    return "; ".join(filter(None, [result.reason, result.error, due, response])) or None
