"""`webhooks check`: whether a worker would work with these settings."""

import asyncio
from dataclasses import dataclass
from typing import Final

import click

from pipeline.cli.output import say
from pipeline.cli.running import configured, errors_as_sentences
from pipeline.config.definition import Definition
from pipeline.config.settings import Settings
from pipeline.core.patches import check_patches
from pipeline.kafka.newest_keys import newest_keys
from pipeline.runtime.preflight import Findings, examine
from pipeline.subscriptions.session import opened_registry

NEWEST: Final = 100
"""The number of events whose keys are examined."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The number of sampled events whose key is the id of a subscription."""

    matching: int
    events: int

    @property
    def is_sound(self) -> bool:
        """Whether the topic looks right: it has no events, or some that will be delivered."""
        return self.matching > 0 or not self.events

    def sentence(self, topic: str) -> str:
        """The result, as a sentence."""
        if not self.events:
            return f"topic {topic}: has no events yet"
        found = f"topic {topic}: {self.matching} of the newest {self.events} events are for a subscription"
        return found if self.is_sound else f"{found}: the key of an event must be the id of its subscription"


async def _look(settings: Settings, definition: Definition, *, create: bool) -> tuple[Findings, Sample | None]:
    """The check, and a sample of the events if they may be read."""
    findings = await examine(definition, settings.app, create=create)
    source = definition.source
    if findings.problems or findings.missing or not findings.is_complete or source.connection.embedded:
        return findings, None
    keys = await newest_keys(source.connection, source.topic, NEWEST)
    async with opened_registry(settings, definition) as registry:
        ids = {subscription.id.encode() for subscription in registry.all()}
    return findings, Sample(sum(key in ids for key in keys), len(keys))


def _covered(definition: Definition, servers: str) -> str:
    """The effect of WEBHOOKS_BOOTSTRAP_SERVERS: dead letters go there too if their cluster was the source's."""
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

    The exit code is 1 if a worker could not work; lines that begin with "warn" do not change it.

    The source topic must exist and not be compacted. <app>.subscriptions, <app>.cursors and the changelog of the
    access tokens must have the right number of partitions and be compacted. The dead-letter topic must exist and be
    writable. This user must have every right that a worker needs; for each missing one, the kafka-acls command is
    printed.
    """
    from pipeline.worker import PATCHES  # noqa: PLC0415 - this loads Faust, which shell completion does not need

    with errors_as_sentences():
        check_patches(PATCHES)
        settings, definition = configured(level="WARNING")
        findings, sample = asyncio.run(_look(settings, definition, create=create))
    for fact in findings.facts:
        say(f"ok  {fact}")
    if settings.bootstrap_servers is not None:
        say(f"ok  {_covered(definition, settings.bootstrap_servers)}")
    if definition.ignored:
        say(f"ok  not used here: {', '.join(definition.ignored)}")
    if sample is not None:
        say(f"{'ok' if sample.is_sound else 'warn'}  {sample.sentence(definition.source.topic)}")
    for warning in findings.warnings:
        say(f"warn  {warning}")
    with errors_as_sentences():
        findings.raise_problems()
