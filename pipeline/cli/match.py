"""`webhooks match`: which subscriptions would get an event, and for the others which comparison failed."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import click

from pipeline.cli.events import header_option, parse_header, read_bytes
from pipeline.cli.output import Format, as_json, as_table, output_option, printable, say
from pipeline.cli.running import configured, errors_as_sentences
from pipeline.config.definition import Definition
from pipeline.config.settings import Settings
from pipeline.config.validation_messages import nearest
from pipeline.core.errors import ConfigurationError
from pipeline.core.explanation import Mismatch, explain
from pipeline.core.filters import EventFilter, View
from pipeline.core.matching import SubscriptionIndex
from pipeline.core.model import Event, Record
from pipeline.core.shown import shown
from pipeline.core.subscription import Routing, Subscription, Wish
from pipeline.subscriptions.session import opened_registry

COLUMNS: Final = ("ID", "GETS IT", "WHY")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a subscription would get the event; if not, on account of which comparisons."""

    subscription: Subscription
    gets_it: bool
    mismatches: Sequence[Mismatch] = ()

    def rows(self) -> list[tuple[str, str, str]]:
        """Rows of the table."""
        first, *more = [str(each) for each in self.mismatches] or [self._why()]
        return [(self.subscription.id, "yes" if self.gets_it else "no", first), *(("", "", each) for each in more)]

    def _why(self) -> str:
        wanted = self.subscription
        if wanted.problem is not None:
            return f"it is broken, and keeps every event until it is mended: {wanted.problem}"
        why = "its filter matches" if wanted.filter is not None else "it has no filter"
        return why if wanted.wish is Wish.DELIVER else f"{why}; it is {wanted.wish}"

    def as_document(self) -> dict[str, Any]:
        """The verdict as JSON."""
        wanted = self.subscription
        return {
            "id": wanted.id,
            "getsIt": self.gets_it,
            "wish": wanted.wish.value,
            "problem": wanted.problem,
            "mismatches": [
                {
                    "place": each.place,
                    "comparison": each.dialect,
                    "wanted": each.wanted,
                    "found": each.found,
                    "isExcluded": each.is_excluded,
                }
                for each in self.mismatches
            ],
        }


def verdicts(subscriptions: Sequence[Subscription], event: Event) -> list[Verdict]:
    """One for each of the *subscriptions*, by the index that workers have."""
    index, view = SubscriptionIndex(), View(event)
    for each in subscriptions:
        index.update(each.id, each)
    getting = set(index.keys(event))
    return [
        Verdict(each, gets_it=True)
        if each.id.encode() in getting
        else Verdict(each, gets_it=False, mismatches=_mismatches(each, view))
        for each in subscriptions
    ]


def _mismatches(subscription: Subscription, view: View) -> list[Mismatch]:
    topic, topics = view.event.topic, subscription.topics
    if topics is not None and topic not in topics:
        return [Mismatch("topic", "exact", tuple(sorted(topics)), (topic,))]
    wanted = subscription.filter
    return explain(wanted.expression, view) if isinstance(wanted, EventFilter) else []


@click.command("match")
@click.argument("event", metavar="EVENT.json", type=click.Path(allow_dash=True))
@click.option("--topic", metavar="TOPIC", help="The source topic of the event, if there are several.")
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
        record = Record(_topic(definition, topic), 0, 0, None if key is None else key.encode(), body, pairs)
        if definition.routing is Routing.KEY and key is None:
            raise ConfigurationError(
                "--key: is required with routing: key, because the key of an event is the id of its subscription"
            )
        if View(record).body() is None and body.strip() not in {b"", b"null"}:
            say(
                "EVENT.json is not JSON in UTF-8, or names something twice: a JSON pointer finds nothing there",
                err=True,
            )
        found = verdicts(asyncio.run(_concerned(settings, definition, key)), record)
    if output == "json":
        shown_verdicts = [each.as_document() for each in found]
        say(as_json({"topic": record.topic, "routing": definition.routing.value, "subscriptions": shown_verdicts}))
    else:
        say(_summary(definition, record.topic, key, found))
        if found:
            say(as_table(COLUMNS, [row for each in found for row in each.rows()]))


def _topic(definition: Definition, topic: str | None) -> str:
    known = definition.source.topics
    if topic is None and len(known) > 1:
        raise ConfigurationError(f"--topic: is required, because there are several: {', '.join(known)}")
    if topic is not None and topic not in known:
        raise ConfigurationError(f"--topic: {shown(topic)} is not a source topic; {nearest(topic, known)}")
    return topic or known[0]


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
