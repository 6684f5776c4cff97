"""`webhooks dlq show`: shows one dead letter in full, with masked secrets."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from pipeline.cli.output import Format, as_json, output_option, printable, say
from pipeline.cli.running import configured
from pipeline.cluster.attempts import parse_id
from pipeline.cluster.dead_letters import dead_letter_topic
from pipeline.config.definition import Definition
from pipeline.core.clock import rfc3339
from pipeline.core.credentials import names_credential
from pipeline.core.errors import ConfigurationError
from pipeline.core.model import DEAD_LETTER_PREFIX, Event
from pipeline.core.redaction import MASKED_FIELD, mask
from pipeline.core.shown import shown
from pipeline.core.webhook_ids import SEAL
from pipeline.kafka.bounded_reading import read_event
from pipeline.kafka.topics import DeadLetterTopic, count_partitions

SECONDS: Final = 20.0
PREVIEW: Final = 2000
"""How many characters of a value are shown."""
RESPONSE: Final = "response"


@click.command("show")
@click.argument("place", metavar="PLACE")
@output_option
def command(place: str, output: Format) -> None:
    """Show the dead letter at PLACE: reason, headers, answer and body.

    PLACE is topic-partition-offset, as `list` prints it. The values of headers and JSON members whose names suggest a
    secret are masked, and so is everything that looks like a credential in other texts. Only the beginning of a long
    body is shown.
    """
    letter = asyncio.run(_read(configured()[1], place))
    document = as_document(letter)
    if output == "json":
        say(as_json(document))
        return
    _say_facts("dead letter", {"place": document["place"], "writtenAt": document["writtenAt"], **document["facts"]})
    if document["response"] is not None:
        say(f"beginning of the receiver's answer:\n{_indented(document['response'])}")
    _say_facts(f"headers of the event: {len(document['headers'])}", dict(document["headers"]))
    value = document["value"]
    size = "no body" if value["bytes"] is None else f"body, {value['bytes']:,} bytes"
    say(f"{size}{' (only the beginning is shown)' if value['isCut'] else ''}{':' if value['text'] else ''}")
    if value["text"]:
        say(_indented(value["text"]))


async def _read(definition: Definition, place: str) -> Event:
    """The letter.

    Raises:
        BrokerError: the topic can't be read.
        ConfigurationError: there is no such letter.
    """
    dlq = dead_letter_topic(definition)
    found = await read_event(dlq.connection, await _position(dlq, place), SECONDS)
    if found is None:
        raise ConfigurationError(f"PLACE: there is no dead letter {shown(place)}, or it was deleted from the topic")
    return found


async def _position(dlq: DeadLetterTopic, place: str) -> tuple[str, int, int]:
    position = parse_id(place)
    if position is None or position[0] != dlq.topic:
        raise ConfigurationError(
            f"PLACE: {shown(place)} is not a dead letter; allowed: {dlq.topic}-<partition>-<offset>"
        )
    last = await count_partitions(dlq.connection, dlq.topic) - 1
    if position[1] > last:
        raise ConfigurationError(f"PLACE: {position[1]} is not a partition of topic {dlq.topic}; allowed: 0 to {last}")
    return position


def as_document(letter: Event) -> dict[str, Any]:
    """The letter as JSON, with secrets masked. Pure."""
    texts = [(name, (value or b"").decode("utf-8", "replace")) for name, value in letter.headers]
    facts = {
        name.removeprefix(DEAD_LETTER_PREFIX): _masked_text(name, value)
        for name, value in texts
        if name.startswith(DEAD_LETTER_PREFIX) and name != SEAL
    }
    response = facts.pop(RESPONSE, None)
    key = None if letter.key is None else mask(letter.key.decode("utf-8", "replace"))
    own = [(name, value) for name, value in texts if not name.startswith(DEAD_LETTER_PREFIX)]
    return {
        "place": f"{letter.topic}-{letter.partition}-{letter.offset}",
        "writtenAt": rfc3339(letter.timestamp / 1000, "milliseconds"),
        "facts": {"key": key} | facts | {"key": key},  # a stranger's letter may have a header `dlq.key`
        RESPONSE: response,
        "headers": [[name, _masked_text(name, value)] for name, value in own],
        "value": _preview(letter.value),
    }


def _masked_text(name: str, value: str) -> str:
    return MASKED_FIELD if value and names_credential(name) else mask(value)


def _preview(value: bytes | None) -> dict[str, Any]:
    if value is None:
        return {"bytes": None, "text": None, "isCut": False}
    try:
        text = json.dumps(_masked(json.loads(value)), ensure_ascii=False, indent=2)
    except (ValueError, RecursionError):  # not JSON
        text = mask(value.decode("utf-8", "replace"))
    return {"bytes": len(value), "text": text[:PREVIEW], "isCut": len(text) > PREVIEW}


def _masked(value: object) -> object:
    match value:
        case dict():
            return {
                name: MASKED_FIELD if names_credential(name) and isinstance(each, str | int | float) else _masked(each)
                for name, each in value.items()
            }
        case list():
            return [_masked(each) for each in value]
        case _:
            return value


def _say_facts(title: str, facts: Mapping[str, str | None]) -> None:
    say(title)
    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        say(f"  {printable(name).ljust(width)}  {printable(value)}")


def _indented(text: str) -> str:
    lines: Sequence[str] = text.splitlines()
    return "\n".join(f"  {line}" for line in lines)
