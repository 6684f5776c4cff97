"""`webhooks check`: checks whether a worker would work with these settings."""

import asyncio
from collections.abc import Container, Sequence
from dataclasses import replace
from typing import Final

import click

from pipeline.cli.listing import of_other_keys
from pipeline.cli.output import say
from pipeline.cli.running import configured
from pipeline.config.definition import Definition
from pipeline.config.settings import Settings
from pipeline.core.patches import check_patches
from pipeline.core.shown import printable
from pipeline.core.subscription import Routing, Subscription
from pipeline.kafka.bounded_reading import newest_keys
from pipeline.runtime.preflight import Findings, examine
from pipeline.subscriptions.advisories import breadth
from pipeline.subscriptions.routing_evidence import require_routing
from pipeline.subscriptions.session import opened_registry

NEWEST: Final = 100
"""The number of events whose keys are examined."""
MOST_NAMED: Final = 10
"""The largest number of subscriptions that one line names."""

Remark = tuple[bool, str]
"""Whether the result is all right, and a sentence that describes it."""
_UNTOLD: Final[Remark] = (
    False,
    "the settings of topics and the rights of users are unknown: the embedded broker of webhooks dev can't report them",
)


async def _look(settings: Settings, definition: Definition, *, create: bool) -> tuple[Findings, Sequence[Remark]]:
    """What the check found, and remarks about events and subscriptions if they may be read."""
    await require_routing(settings, definition)
    findings = await examine(definition, settings.app, create=create)
    source = definition.source
    if findings.problems or findings.missing or not findings.is_complete:
        return findings, ()
    remarks = [_UNTOLD] if source.connection.embedded else []
    async with opened_registry(settings, definition) as registry:
        subscriptions = registry.all()
    undecryptable = of_other_keys(each.problem for each in subscriptions)
    if undecryptable is not None:
        if any(each.problem is None and registry.may_have_secrets(each.id) for each in subscriptions):
            # At least one key is right, so only the subscriptions with other keys are not delivered.
            remarks.append((False, undecryptable))
        else:
            findings = replace(findings, problems=(undecryptable,))
    if definition.routing is Routing.MATCH:
        return findings, [*remarks, _of_match(definition, subscriptions)]
    ids = {each.id.encode() for each in subscriptions}
    newest = {topic: await newest_keys(source.connection, topic, NEWEST) for topic in source.topics}
    return findings, [*remarks, *(_of_key(topic, keys, ids) for topic, keys in newest.items())]


def _of_key(topic: str, keys: Sequence[bytes | None], ids: Container[bytes | None]) -> Remark:
    """A remark about how many of the newest events are for a subscription."""
    if not keys:
        return True, f"topic {topic}: has no events yet"
    matching = sum(key in ids for key in keys)
    found = f"topic {topic}: {matching} of the newest {len(keys)} events are for a subscription"
    return (True, found) if matching else (False, f"{found}: the key of an event must be the id of its subscription")


def _of_match(definition: Definition, subscriptions: Sequence[Subscription]) -> Remark:
    """A remark about the subscriptions that get every event."""
    unlimited = [each.id for each in subscriptions if breadth(each, definition) is not None]
    if not unlimited:
        return True, f"subscriptions: {len(subscriptions)}, each with a filter or topics"
    names = ", ".join(map(printable, unlimited[:MOST_NAMED]))
    if len(unlimited) > MOST_NAMED:
        names += f" and {len(unlimited) - MOST_NAMED} more"
    topics = ", ".join(definition.source.topics)
    found = f"subscriptions: {len(unlimited)} of {len(subscriptions)} get every event of {topics}: {names}"
    if not definition.require_filter:
        return True, found
    return False, f"{found}; they were applied before requireFilter, which refuses only new and changed subscriptions"


def _covered(definition: Definition, servers: str) -> str:
    """A sentence about WEBHOOKS_BOOTSTRAP_SERVERS: it replaces the source's brokers, and perhaps the dead letters'."""
    found = f"WEBHOOKS_BOOTSTRAP_SERVERS: the source is at {servers}"
    dlq = definition.dlq
    if dlq is None:
        return found
    if dlq.connection.bootstrap_servers == definition.source.connection.bootstrap_servers:
        return f"{found}, and so are the dead letters"
    where = ",".join(dlq.connection.bootstrap_servers)
    return f"{found}; the dead letters stay at {where}, because the definition names another cluster for them"


@click.command("check")
@click.option("--create/--no-create", default=True, help="Create the pipeline's own topics if they are missing.")
def command(*, create: bool) -> None:
    """Check the libraries, the definition, the brokers, the topics and the rights.

    The exit code is 1 if a worker could not deliver with this configuration. Lines that begin with "warn" do not change
    the exit code.

    The source topic must exist and must not be compacted. <app>.subscriptions, <app>.cursors and the changelog of the
    access tokens must have the right number of partitions and be compacted. The dead-letter topic must exist and be
    writable. WEBHOOKS_SECRET_KEYS must decrypt the secrets of subscriptions. This user must have all rights that a
    worker needs; for each missing right, the kafka-acls command is printed.
    """
    from pipeline.worker import PATCHES  # noqa: PLC0415 - this loads Faust, which shell completion does not need

    check_patches(PATCHES)
    settings, definition = configured(level="WARNING")
    findings, remarks = asyncio.run(_look(settings, definition, create=create))
    for fact in findings.facts:
        say(f"ok  {fact}")
    if settings.bootstrap_servers is not None:
        say(f"ok  {_covered(definition, settings.bootstrap_servers)}")
    if definition.ignored:
        say(f"ok  fields of the definition without effect: {', '.join(definition.ignored)}")
    for is_sound, found in remarks:
        say(f"{'ok' if is_sound else 'warn'}  {found}")
    for warning in findings.warnings:
        say(f"warn  {warning}")
    findings.raise_problems()
