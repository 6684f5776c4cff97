"""Describes topics and subscriptions if no `routing` is configured, to help the operator choose one."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from pipeline.config.definition import Definition
from pipeline.config.routing import unsaid_routing
from pipeline.config.settings import Settings
from pipeline.core.errors import BrokerError
from pipeline.core.shown import shown
from pipeline.core.subscription import Subscription
from pipeline.kafka.bounded_reading import newest_keys
from pipeline.subscriptions.session import opened_registry

NEWEST: Final = 100
"""The number of events whose keys are examined."""
EXAMPLES: Final = 5
LOOK_SECONDS: Final = 15.0
"""How long to wait for the brokers. If they do not answer, the error has no evidence."""


async def require_routing(settings: Settings, definition: Definition) -> None:
    """Check that the routing is configured.

    Raises:
        ConfigurationError: no routing is configured. The error explains the choice, with the newest keys of the topics
            if they can be read.
    """
    if definition.stated_routing is None:
        raise unsaid_routing(definition.entrypoint, await _look(settings, definition))


async def _look(settings: Settings, definition: Definition) -> list[str]:
    source = definition.source
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            keys = {topic: await newest_keys(source.connection, topic, NEWEST) for topic in source.topics}
            return evidence(keys, await _subscriptions(settings, definition))
    except (BrokerError, TimeoutError):
        return []


async def _subscriptions(settings: Settings, definition: Definition) -> list[Subscription]:
    try:
        async with opened_registry(settings, definition) as registry:
            return registry.all()
    except BrokerError:
        return []  # the topic of subscriptions does not exist before the first start


def evidence(newest: Mapping[str, Sequence[bytes | None]], subscriptions: Sequence[Subscription]) -> list[str]:
    """Sentences that help to choose, each about one value of `routing`.

    Args:
        newest: the keys of the newest events, by source topic.
        subscriptions: all existing subscriptions.
    """
    sentences = [_of_topic(topic, keys) for topic, keys in newest.items()]
    keys = [key for found in newest.values() for key in found]
    if not keys:
        return sentences
    if not subscriptions:
        return [*sentences, "There are no subscriptions yet to compare these keys with."]
    named = {each.id.encode() for each in subscriptions} & set(keys)
    events = sum(key in named for key in keys)
    return [*sentences, _with_key(len(keys), events, len(named), len(subscriptions)), _with_match(subscriptions)]


def _of_topic(topic: str, keys: Sequence[bytes | None]) -> str:
    if not keys:
        return f"Topic {topic} has no events yet, so its keys do not help to choose."
    return f"The newest {_count(len(keys), 'key')} of {topic}: {_examples(keys)}."


def _with_key(events: int, matching: int, named: int, subscriptions: int) -> str:
    of_all = f"{named} of your {_count(subscriptions, 'subscription')}"
    if not matching:
        return (
            "With key, none of these events would be delivered: no key is the id of one of your "
            f"{_count(subscriptions, 'subscription')}."
        )
    if matching == events:
        return f"With key, all of these events would be delivered: their keys are the ids of {of_all}."
    return (
        f"With key, {events - matching} of these {events} events would be dead-lettered: only the other events have "
        f"keys that are ids of subscriptions ({of_all})."
    )


def _with_match(subscriptions: Sequence[Subscription]) -> str:
    unfiltered = sum(each.filter is None and each.problem is None for each in subscriptions)
    if not unfiltered:
        return "With match, each of your subscriptions would get the events that its filter matches."
    return (
        f"With match, {unfiltered} of your {_count(len(subscriptions), 'subscription')} would get every event, "
        "because they have no filter."
    )


def _examples(keys: Sequence[bytes | None]) -> str:
    different = list(dict.fromkeys(keys))
    shown_keys = ", ".join(map(_shown, different[:EXAMPLES]))
    more = len(different) - EXAMPLES
    return f"{shown_keys} and {more} more" if more > 0 else shown_keys


def _shown(key: bytes | None) -> str:
    if key is None:
        return "no key"
    try:
        return shown(key.decode())
    except UnicodeDecodeError:
        return f"0x{key[:16].hex()}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
