"""`webhooks send`: writes one event for a subscription to the source topic."""

import asyncio

import click
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from pipeline.cli.events import Headers, header_option, parse_header, read_bytes
from pipeline.cli.output import Format, as_json, output_option, printable, say
from pipeline.cli.running import configured, errors_as_sentences
from pipeline.config.definition import Definition
from pipeline.config.settings import Settings
from pipeline.core.errors import BrokerError, ConfigurationError
from pipeline.core.model import Record
from pipeline.core.subscription import Routing
from pipeline.core.webhook_ids import ADDRESSEE, FIRST_ID, SEAL, own_id
from pipeline.kafka.internals import disconnect
from pipeline.kafka.newest_values import read_newest
from pipeline.kafka.topics import Source, count_partitions, partitions_of, subscriptions_topic


@click.command("send")
@click.argument("subscription")
@click.argument("body")
@header_option
@output_option
def command(subscription: str, body: str, headers: tuple[str, ...], output: Format) -> None:
    """Write one event for SUBSCRIPTION, and print its webhook-id: topic-partition-offset.

    BODY is the event; @FILE reads it from a file, - from standard input. An event for an unknown subscription is
    written too, with a warning on stderr: workers dead-letter it. (With routing: key, not if the subscription is
    applied first.)

    With routing: match, the event goes to SUBSCRIPTION alone, whatever filters say.
    """
    with errors_as_sentences():
        value = read_bytes(body.removeprefix("@"), "BODY") if body == "-" or body.startswith("@") else body.encode()
        pairs = [parse_header(each) for each in headers]
        settings, definition = configured()
        matches = definition.stated_routing is Routing.MATCH
        if matches:
            pairs = _addressed(settings, subscription, value, pairs)
        written, known = asyncio.run(_send(settings.app, definition, subscription, value, pairs))
    if isinstance(known, str):
        say(f"can't find out whether the subscription {printable(subscription)} exists: {known}", err=True)
    elif known is False:
        # With match, a subscription that is made now begins after the event.
        unless = "" if matches else " unless the subscription is applied before a worker reads it"
        say(
            f"there is no subscription {printable(subscription)} in {subscriptions_topic(settings.app)}; the event was "
            f"written, and is dead-lettered{unless}",
            err=True,
        )
    if output == "json":
        is_known = None if isinstance(known, str) else known
        say(as_json({"webhookId": own_id(written), "subscription": subscription, "subscriptionExists": is_known}))
    else:
        say(own_id(written))


def _addressed(settings: Settings, subscription: str, value: bytes, headers: Headers) -> Headers:
    """The headers of an event for one subscription, with `routing: match`.

    Raises:
        ConfigurationError: one of them would make the address invalid.
    """
    own = settings.webhook_ids.address(Record("", 0, 0, subscription.encode(), value), subscription)
    for name, _ in headers:
        if name in {FIRST_ID, ADDRESSEE, SEAL}:
            raise ConfigurationError(f"--header: {name} is a header of the pipeline")
    return [*headers, *own]


async def _send(
    app: str, definition: Definition, subscription: str, value: bytes, headers: Headers
) -> tuple[Record, bool | str]:
    """The event, and what is known of its subscription."""
    written = await send(definition.source, subscription.encode(), value, headers)
    return written, await is_subscription(app, definition.source, subscription)


async def is_subscription(app: str, source: Source, subscription: str) -> bool | str:
    """Whether a subscription exists, or why that is unknown."""
    key, topic = subscription.encode(), subscriptions_topic(app)
    try:
        partitions = await partitions_of(source.connection, topic)
        if partitions.leaderless:
            return partitions.troubles(topic)[0]
        async with read_newest(source.connection, topic, partitions, frozenset({key})) as (_, found):
            return bool(found)
    except BrokerError as error:
        return str(error)


async def send(source: Source, key: bytes, value: bytes, headers: Headers) -> Record:
    """Write an event, and return it with its partition and offset once every in-sync replica has it.

    Raises:
        BrokerError: the cluster can't be reached, does not have the topic, or refuses the event.
    """
    # A write alone might create the topic.
    await count_partitions(source.connection, source.topic)
    producer = AIOKafkaProducer(acks="all", enable_idempotence=True, **source.connection.client_options())
    try:
        await producer.start()
        written = await producer.send_and_wait(source.topic, value, key, headers=headers)
    except KafkaError as error:
        raise BrokerError(f"topic {source.topic}: the event was not written: {error}") from error
    finally:
        await disconnect(producer)
    return Record(source.topic, written.partition, written.offset, key, value, headers, written.timestamp)
