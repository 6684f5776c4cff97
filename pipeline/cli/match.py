"""`webhooks match`: shows which subscriptions would get an event, and why others would not."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import click

from pipeline.cli.events import STDIN, TOPIC_OPTION, header_option, parse_header, read_bytes
from pipeline.cli.output import Format, as_json, as_table, output_option, printable, say
from pipeline.cli.running import configured
from pipeline.cluster.rows import has_failed, read_noted
from pipeline.cluster.verdicts import Verdict, verdicts
from pipeline.config.definition import Definition
from pipeline.config.settings import Settings
from pipeline.core.errors import ConfigurationError
from pipeline.core.filters import ParsedEvent
from pipeline.core.model import PlainEvent
from pipeline.core.shown import as_partitions
from pipeline.core.subscription import Routing, Subscription
from pipeline.subscriptions.session import opened_registry

COLUMNS: Final = ("ID", "GETS IT", "WHY")


@click.command("match")
@click.argument("event", metavar="EVENT.json", type=click.Path(allow_dash=True))
@click.option(TOPIC_OPTION, metavar="TOPIC", help="Match as if the event were in this source topic only.")
@header_option
@click.option("--key", metavar="KEY", help="The key of the record.")
@output_option
def command(event: str, topic: str | None, headers: tuple[str, ...], key: str | None, output: Format) -> None:
    """Show which subscriptions would get an event, and which comparison failed for each of the others.

    EVENT.json is the body of the event; use - for standard input. Give attributes of a CloudEvent as headers, such as
    -H ce_type:order.paid. Nothing is written to Kafka. With routing: key, the record's key names the only subscription.
    Without --topic, the event is matched for each source topic.
    """
    body, pairs = read_bytes(event, "EVENT"), [parse_header(each) for each in headers]
    settings, definition = configured()
    topics = definition.source.topics if topic is None else (definition.source_topic(topic, TOPIC_OPTION),)
    records = [PlainEvent(each, 0, 0, None if key is None else key.encode(), body, pairs) for each in topics]
    if definition.routing is Routing.KEY and key is None:
        raise ConfigurationError(
            "--key: is required with routing: key, because the key of an event is the id of its subscription"
        )
    if ParsedEvent(records[0]).body() is None and body.strip() not in {b"", b"null"}:
        what = "standard input" if event == STDIN else event
        say(f"{what} is not JSON in UTF-8, or has a duplicate name, so JSON pointers find nothing in it", err=True)
    concerned = asyncio.run(_concerned(settings, definition, key))
    ids = settings.webhook_ids if definition.routing is Routing.MATCH else None
    matches = [_Matched(each.topic, verdicts(concerned, each, ids)) for each in records]
    for each in matches:
        each.failed = asyncio.run(_failed(settings, definition, each))
    if output == "json":
        documents = [each.as_document(definition.routing) for each in matches]
        say(as_json(documents[0] if len(documents) == 1 else documents))
        return
    for number, each in enumerate(matches):
        say(f"{chr(10) * (number > 0)}{_summary(definition, each.topic, key, each.found)}")
        if each.found:
            say(as_table(COLUMNS, each.rows()))


@dataclass(slots=True)
class _Matched:
    """Verdicts for an event in a topic. *failed* has the partitions in which each subscription is in FAILURE, by id."""

    topic: str
    found: Sequence[Verdict]
    failed: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def as_document(self, routing: Routing) -> dict[str, Any]:
        shown = [{**each.as_document(), "failedIn": self.failed.get(each.subscription.id, [])} for each in self.found]
        return {"topic": self.topic, "routing": routing.value, "subscriptions": shown}

    def rows(self) -> list[tuple[str, str, str]]:
        return [row for each in self.found for row in rows(each, self.failed.get(each.subscription.id, ()))]


async def _concerned(settings: Settings, definition: Definition, key: str | None) -> list[Subscription]:
    """The subscriptions that may get the event: with `routing: key`, the one that the key names, otherwise all."""
    async with opened_registry(settings, definition) as registry:
        if definition.routing is Routing.MATCH:
            return registry.all()
        found = registry.get(key or "")
        return [] if found is None else [found]


def _summary(definition: Definition, topic: str, key: str | None, found: Sequence[Verdict]) -> str:
    if definition.routing is Routing.KEY:
        if not found:
            return f"routing: key: there is no subscription {printable(key)}, so the event would be dead-lettered"
        return f"routing: key: only the subscription {printable(key)} gets the event, because its id is the event's key"
    getting = sum(each.gets_it for each in found)
    return f"topic {topic}: {getting} of {len(found)} subscriptions would get the event"


async def _failed(settings: Settings, definition: Definition, matched: _Matched) -> Mapping[str, Sequence[int]]:
    """The partitions of the topic in which each subscription is in FAILURE, by id. Empty if the rows can't be read."""
    getting = [each.subscription.id for each in matched.found if each.gets_it]
    if not getting:
        return {}
    noted = await read_noted(settings, definition, getting)
    if isinstance(noted, str):
        return {}
    return {
        name: [row.partition for row in rows if row.topic == matched.topic and has_failed([row])]
        for name, rows in noted.rows.items()
    }


def rows(verdict: Verdict, failed: Sequence[int] = ()) -> list[tuple[str, str, str]]:
    """The rows of the table. *failed* are the partitions in which the subscription is in FAILURE."""
    first, *more = verdict.reasons
    if failed:
        first += f"; it is in FAILURE in {as_partitions(failed)}, where its events wait"
    return [(verdict.subscription.id, "yes" if verdict.gets_it else "no", first), *(("", "", each) for each in more)]
