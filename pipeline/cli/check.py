"""`webhooks check`: would a worker work here?"""

import asyncio

import click

from pipeline.cli.running import configured, errors_as_sentences
from pipeline.runtime.preflight import examine


@click.command("check")
@click.option("--create/--no-create", default=True, help="Create the pipeline's own topics where they are missing.")
def command(*, create: bool) -> None:
    """Check the definition, the brokers, the topics and the rights.

    Exit code 1 if a worker could not work; a line that begins with "warn" does not change it.

    The source topic must exist and not be compacted. <app>.subscriptions, <app>.cursors and the changelog of the
    access tokens must have the right partitions and be compacted. The dead-letter topic must exist and be writable.
    This user must have every right that a worker needs; of one that is missing the kafka-acls command is named.
    """
    with errors_as_sentences():
        settings, definition = configured(level="WARNING")
        findings = asyncio.run(examine(definition, settings.app, create=create))
    for fact in findings.facts:
        click.echo(f"ok  {fact}")
    if definition.ignored:
        click.echo(f"ok  not used here: {', '.join(definition.ignored)}")
    for warning in findings.warnings:
        click.echo(f"warn  {warning}")
    with errors_as_sentences():
        findings.raise_problems()
