"""`webhooks match`: which subscriptions would get an event, and for the others which comparison failed."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import click

from pipeline.cli.events import STDIN, TOPIC_OPTION, header_option, parse_header, read_bytes, topic_option
from pipeline.cli.output import Format, as_json, as_table, output_option, printable, say
from pipeline.cli.running import configured, errors_as_sentences
from pipeline.cluster.rows import has_failed, read_noted
from pipeline.cluster.verdicts import Verdict, verdicts
from pipeline.config.definition import Definition
from pipeline.config.settings import Settings
from pipeline.core.errors import ConfigurationError
from pipeline.core.filters import View
from pipeline.core.model import Record
from pipeline.core.shown import as_partitions
from pipeline.core.subscription import Routing, Subscription
from pipeline.subscriptions.session import opened_registry

COLUMNS: Final = ("ID", "GETS IT", "WHY")


@click.command("match")
@click.argument("event", metavar="EVENT.json", type=click.Path(allow_dash=True))
@topic_option
@header_option
@click.option("--key", metavar="KEY", help="The record's key.")
@output_option
def command(event: str, topic: str | None, headers: tuple[str, ...], key: str | None, output: Format) -> None:
    """Show which subscriptions would get an event, and for each of the others which comparison failed.

    EVENT.json is the body of the event, - is standard input. Attributes of a CloudEvent are headers, such as
    -H ce_type:order.paid. Nothing is written to Kafka. With routing: key, the record's key names the only subscription.
    """
    with errors_as_sentences():
        body, pairs = read_bytes(event, "EVENT.json"), [parse_header(each) for each in headers]
        settings, definition = configured()
        where = definition.source_topic(topic, TOPIC_OPTION)
        record = Record(where, 0, 0, None if key is None else key.encode(), body, pairs)
        if definition.routing is Routing.KEY and key is None:
            raise ConfigurationError(
                "--key: is required with routing: key, because the key of an event is the id of its subscription"
            )
        if View(record).body() is None and body.strip() not in {b"", b"null"}:
            what = "standard input" if event == STDIN else event
            say(f"{what} is not JSON in UTF-8, or names something twice: a JSON pointer finds nothing there", err=True)
        found = verdicts(asyncio.run(_concerned(settings, definition, key)), record)
        failed = asyncio.run(_failed(settings, definition, record.topic, [each for each in found if each.gets_it]))
    if output == "json":
        shown_verdicts = [{**each.as_document(), "failedIn": failed.get(each.subscription.id, [])} for each in found]
        say(as_json({"topic": record.topic, "routing": definition.routing.value, "subscriptions": shown_verdicts}))
    else:
        say(_summary(definition, record.topic, key, found))
        if found:
            say(as_table(COLUMNS, [row for each in found for row in rows(each, failed.get(each.subscription.id, ()))]))


async def _concerned(settings: Settings, definition: Definition, key: str | None) -> list[Subscription]:
    """The subscriptions that may get the event: all of them, or with `routing: key` the one that the key names."""
    async with opened_registry(settings, definition) as registry:
        if definition.routing is Routing.MATCH:
            return registry.all()
        found = registry.get(key or "")
        return [] if found is None else [found]


def _summary(definition: Definition, topic: str, key: str | None, found: Sequence[Verdict]) -> str:
    if definition.routing is Routing.KEY:
        if not found:
            return f"routing: key: there is no subscription {printable(key)}, so the event would be dead-lettered"
        return f"routing: key: the event is for the subscription {printable(key)} alone, whose id is its key"
    getting = sum(each.gets_it for each in found)
    return f"topic {topic}: {getting} of {len(found)} subscriptions would get the event"


async def _failed(
    settings: Settings, definition: Definition, topic: str, found: Sequence[Verdict]
) -> Mapping[str, Sequence[int]]:
    """In which partitions of the topic subscriptions are in FAILURE, as far as the workers' rows can be read."""
    if not found:
        return {}
    noted = await read_noted(settings, definition, [each.subscription.id for each in found])
    if isinstance(noted, str):
        return {}
    return {
        name: [row.partition for row in rows if row.topic == topic and has_failed([row])]
        for name, rows in noted.rows.items()
    }


def rows(verdict: Verdict, failed: Sequence[int] = ()) -> list[tuple[str, str, str]]:
    """Rows of the table; *failed* are the partitions where the subscription is in FAILURE."""
    first, *more = verdict.reasons
    if failed:
        first += f"; it is in FAILURE in {as_partitions(failed)}, where its events wait"
    return [(verdict.subscription.id, "yes" if verdict.gets_it else "no", first), *(("", "", each) for each in more)]
