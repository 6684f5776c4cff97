"""`webhooks tail`: shows attempts as they are logged."""

import asyncio
import time
from typing import Final

import click

from pipeline.cli.attempts import rows
from pipeline.cli.events import since_ms, since_option
from pipeline.cli.output import Format, as_json, output_option, printable, say
from pipeline.cli.running import configured, end_cleanly_on_signals
from pipeline.cluster.attempts import Entry, Results, decoded
from pipeline.cluster.sending import is_subscription
from pipeline.core.model import Event
from pipeline.core.shown import shown
from pipeline.kafka.follower import Follower
from pipeline.kafka.topics import attempts_topic

LOOK_SECONDS: Final = 1.0
"""How often to check that the log can still be read."""


@click.command("tail")
@click.argument("subscription", metavar="[ID]", required=False)
@click.option("--failures", "is_failures", is_flag=True, help="Leave out deliveries.")
@since_option("Begin with entries since this time instead of now")
@output_option
def command(*, subscription: str | None, is_failures: bool, since: str | None, output: Format) -> None:
    """Show the attempts of subscription ID, or of all subscriptions, as they are logged, until interrupted.

    Each line is an attempt, or the end of an event without an attempt, such as a skip (see `webhooks attempts`). With
    --output json, each line is a JSON object.
    """
    end_cleanly_on_signals()
    begin = time.time() if since is None else since_ms(since) / 1000
    asyncio.run(_follow(Chosen(subscription, begin, leaves_deliveries_out=is_failures), output))


class Chosen:
    """Selects entries from the records of the log.

    Args:
        subscription: select only entries of this subscription; None: of all.
        begin: select only entries since this time, Unix seconds.
        leaves_deliveries_out: select only entries that are not deliveries.
    """

    def __init__(self, subscription: str | None, begin: float, *, leaves_deliveries_out: bool) -> None:
        self.begin = begin
        self.subscription = subscription
        self._leaves_deliveries_out = leaves_deliveries_out

    def of(self, record: Results) -> list[Entry]:
        """The selected entries of a record, sorted by time."""
        found = (each for each in record.of(self.subscription) if each.result.at >= self.begin)
        wanted = (each for each in found if not (self._leaves_deliveries_out and each.result.decision == "delivered"))
        return sorted(wanted, key=lambda each: each.result.at)


async def _follow(chosen: Chosen, output: Format) -> None:
    settings, definition = configured()
    wanted = chosen.subscription
    if wanted is not None and await is_subscription(settings.app, definition.source, wanted) is False:
        say(f"there is no subscription {shown(wanted)}; its attempts are shown when it exists", err=True)
    found: asyncio.Queue[Results] = asyncio.Queue()

    def take(record: Event) -> None:
        results = decoded(record.value)
        if isinstance(results, Results):
            found.put_nowait(results)

    since = max(0.0, time.time() - chosen.begin)
    follower = Follower(definition.source.connection, attempts_topic(settings.app), take, since_seconds=since)
    await follower.start()
    try:
        await _say_all(follower, found, chosen, output)
    finally:
        await follower.stop()


async def _say_all(follower: Follower, found: asyncio.Queue[Results], chosen: Chosen, output: Format) -> None:
    problem = None
    while True:
        if follower.has_tried and follower.problem != problem:
            problem = follower.problem
            say(problem or "the attempt log can be read again", err=True)
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                results = await found.get()
        except TimeoutError:
            continue
        for entry in chosen.of(results):
            say(as_json(entry.as_document(), indent=None) if output == "json" else line(entry))
        lost = sum(count for count, *_ in results.lost)
        if lost and results.at >= chosen.begin:
            say(f"{results.worker} could not log {lost} entries of {results.topic}-{results.partition}", err=True)


def line(entry: Entry) -> str:
    """An entry as a line: time, subscription, event, and the columns of `webhooks attempts`."""
    [(when, *row)] = rows([entry])
    return "  ".join(printable(each) for each in (when, entry.subscription, *row))
