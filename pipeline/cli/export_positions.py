"""`webhooks export-positions`: lets another system continue at the positions of the subscriptions."""

import asyncio
from collections.abc import Mapping, Sequence

import click

from pipeline.cli.groups import GroupOf
from pipeline.cli.output import say
from pipeline.cli.recording import record
from pipeline.cli.running import configured
from pipeline.cluster.positions import Position, find_positions
from pipeline.config.definition import Definition
from pipeline.config.settings import Settings
from pipeline.core.errors import ConfigurationError
from pipeline.core.shown import shown
from pipeline.kafka.group_positions import GroupPositions, commit_positions, group_positions
from pipeline.subscriptions.group_names import Groups
from pipeline.subscriptions.session import opened_registry


@click.command("export-positions")
@click.option(
    "--to-group",
    "groups",
    multiple=True,
    required=True,
    type=GroupOf(),
    help="The consumer group to move; id means that each subscription has a group named after its own id.",
)
def command(*, groups: tuple[str, ...]) -> None:
    """Move consumer groups of another system to the positions of subscriptions, to undo a migration.

    No worker may be running, and the groups must have no members. Otherwise both systems would deliver the same events.
    The command commits either all positions or none.
    """
    for line in asyncio.run(_export(*configured(), Groups.read(groups))):
        say(line)


async def _export(settings: Settings, definition: Definition, groups: Groups) -> list[str]:
    """Commit the positions. Returns one line per subscription.

    Raises:
        ConfigurationError: the positions can't be committed; one sentence per reason.
        BrokerError: a broker refuses a commit.
    """
    source = definition.source
    async with opened_registry(settings, definition) as registry:
        chosen = [(each, group) for each in registry.all() if (group := groups.of(each.id)) is not None]
        unknown = groups.unknown(registry.ids())
    names = [settings.app, *(group for _, group in chosen)]
    found = await group_positions(source.connection, names, source.topics)
    positions = await find_positions(settings, definition, [each for each, _ in chosen])
    problems = [f"--to-group: {shown(each)} is not the id of a subscription" for each in unknown]
    problems += refusals(settings.app, found, positions)
    if problems:
        raise ConfigurationError(problems)
    lines: list[str] = []
    done: dict[str, str] = {}
    try:
        for subscription, group in chosen:
            offsets = {(each.topic, each.partition): each.next or 0 for each in positions[subscription.id]}
            await commit_positions(source.connection, group, offsets)
            done[subscription.id] = group
            places = ", ".join(f"{topic} {number}: {offset}" for (topic, number), offset in offsets.items())
            lines.append(f"{subscription.id}: group {group} continues at {places}")
    finally:
        if done:
            await record(settings, definition, {"groups": done})
    return lines


def refusals(app: str, groups: Mapping[str, GroupPositions], positions: Mapping[str, Sequence[Position]]) -> list[str]:
    """Reasons why the positions can't be exported, as sentences; empty if they can."""
    problems = [
        (
            f"group {shown(name)} still has members: "
            if group.members
            else f"the members of group {shown(name)} can't be seen, so it may still have some: "
        )
        + ("stop the workers" if name == app else "stop its consumers")
        for name, group in groups.items()
        if group.members != 0
    ]
    problems += [
        f"subscription {shown(name)}: its position in partition {each.partition} is unknown: {each.unknown}"
        for name, those in positions.items()
        for each in those
        if each.next is None
    ]
    return problems
