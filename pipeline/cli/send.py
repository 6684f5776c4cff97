"""`webhooks send`: writes one event for a subscription to the source topic."""

import asyncio

import click

from pipeline.cli.events import TOPIC_OPTION, header_option, parse_header, read_bytes
from pipeline.cli.existing import require_subscription
from pipeline.cli.output import Format, as_json, output_option, say
from pipeline.cli.running import configured
from pipeline.cluster.sending import addressed, send
from pipeline.config.definition import Definition
from pipeline.config.settings import Settings
from pipeline.core.model import PlainEvent
from pipeline.core.subscription import Routing
from pipeline.core.webhook_ids import own_id
from pipeline.subscriptions.session import opened_registry


@click.command("send")
@click.argument("subscription")
@click.argument("body")
@header_option
@click.option(
    TOPIC_OPTION,
    metavar="TOPIC",
    help="The source topic; required if there are several, unless the subscription names only one of them.",
)
@output_option
def command(subscription: str, body: str, headers: tuple[str, ...], topic: str | None, output: Format) -> None:
    """Write one event for SUBSCRIPTION, and print the webhook-id of the event (topic-partition-offset).

    BODY is the body of the event; @FILE reads it from a file, - from standard input. If the subscription does not
    exist, nothing is written. If the subscriptions can't be read, the event is written, with a warning on stderr.

    With routing: match, only SUBSCRIPTION gets the event, regardless of filters.
    """
    value = read_bytes(body.removeprefix("@"), "BODY") if body == "-" or body.startswith("@") else body.encode()
    pairs = [parse_header(each) for each in headers]
    settings, definition = configured()
    if definition.stated_routing is Routing.MATCH:
        pairs = addressed(settings.webhook_ids, subscription, value, pairs)
    unknown = asyncio.run(require_subscription(settings, definition, subscription, ", so nothing was written"))
    if topic is None and len(definition.source.topics) > 1:
        topic = asyncio.run(_only_topic(settings, definition, subscription))
    where = definition.source_topic(topic, TOPIC_OPTION)
    event = PlainEvent(where, 0, 0, subscription.encode(), value, pairs)
    written = asyncio.run(send(definition.source, event))
    if unknown is not None:
        say(unknown, err=True)
    if output == "json":
        is_known = True if unknown is None else None
        say(as_json({"webhookId": own_id(written), "subscription": subscription, "subscriptionExists": is_known}))
    else:
        say(own_id(written))


async def _only_topic(settings: Settings, definition: Definition, subscription: str) -> str | None:
    """The only source topic from which a subscription gets events; None if there are several.

    Raises:
        BrokerError: the subscriptions can't be read.
    """
    async with opened_registry(settings, definition) as registry:
        found = registry.get(subscription)
    topics = (
        frozenset() if found is None or found.topics is None else found.topics.intersection(definition.source.topics)
    )
    return next(iter(topics)) if len(topics) == 1 else None
