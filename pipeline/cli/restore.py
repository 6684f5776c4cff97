"""`webhooks restore`: restores a file of `webhooks backup`."""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from pipeline.cli.output import ask, say
from pipeline.cli.recording import record
from pipeline.cli.running import configured
from pipeline.cluster.backup import Backup, read_lines
from pipeline.cluster.restore import Restore
from pipeline.config.definition import Definition
from pipeline.config.settings import Settings
from pipeline.core.errors import ConfigurationError
from pipeline.kafka.kept_state import Kept, read_state
from pipeline.kafka.log_positions import log_positions
from pipeline.subscriptions.record_reader import parse_record
from pipeline.subscriptions.session import secret_box


@dataclass(frozen=True, slots=True)
class _Asked:
    replaces: bool
    keeps_subscriptions: bool
    keeps_positions: bool
    is_dry: bool
    is_confirmed: bool


@click.command("restore")
@click.argument("file", metavar="FILE")
@click.option(
    "--dry-run", is_flag=True, help="Print what would be written, and what would be sent again; write nothing."
)
@click.option("--replace", is_flag=True, help="Replace the existing state of the application.")
@click.option("--keep-subscriptions", is_flag=True, help="Restore only cursor rows and committed offsets.")
@click.option("--keep-positions", is_flag=True, help="Restore only subscriptions.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation of --replace.")
def command(
    *, file: str, dry_run: bool, replace: bool, keep_subscriptions: bool, keep_positions: bool, yes: bool
) -> None:
    """Restore the subscriptions, cursor rows and committed offsets of a backup.

    Use - for standard input. No worker may be running. Deliveries continue at the positions of the backup: events that
    were delivered since then are sent again, at every level. Unless --replace is given, the application must be empty.
    The topics must exist; webhooks check creates them.
    """
    if keep_subscriptions and keep_positions:
        raise click.UsageError(
            "--keep-subscriptions and --keep-positions together leave nothing to restore; give only one of them"
        )
    asked = _Asked(replace, keep_subscriptions, keep_positions, dry_run, yes)
    asyncio.run(_restore(*configured(), _read(file), asked))


def _read(file: str) -> Backup:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{file}: can't be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ConfigurationError(f"{file}: is not UTF-8: webhooks backup did not write this file") from None
    try:
        return read_lines(text.removesuffix("\n").split("\n"))  # not splitlines(), because texts may contain U+2028
    except ConfigurationError as error:
        raise ConfigurationError([f"{file}: {problem}" for problem in error.problems]) from None


async def _restore(settings: Settings, definition: Definition, backup: Backup, asked: _Asked) -> None:
    """Print the effects of the restore, and carry it out.

    Raises:
        ConfigurationError: the restore is not possible.
        BrokerError: the cluster can't be reached, or refuses.
    """
    source = definition.source
    now = await read_state(source, settings.app)
    restore = Restore(backup, now, settings.app, source, asked.keeps_subscriptions, asked.keeps_positions)
    problems = restore.problems(_undecryptable(settings), replaces=asked.replaces)
    logs = {topic: await log_positions(source.connection, topic, ()) for topic in source.topics}
    for line in restore.effects(logs):
        say(line, err=not asked.is_dry)
    if problems:
        raise ConfigurationError([*problems, "nothing was written"])
    if asked.is_dry:
        return
    if asked.replaces and not asked.is_confirmed and not ask(f"Replace the state of {settings.app}?"):
        raise click.Abort
    result = "failed"
    try:
        await restore.carry_out()
        result = "restored"
    finally:
        await record(settings, definition, {"result": result, **restore.summary()})
    say("restored; run webhooks check, then start the workers")


def _undecryptable(settings: Settings) -> Callable[[Kept], str | None]:
    """A function that returns why a stored subscription can't be decrypted.

    Unreadable records are restored unchanged.
    """
    box = secret_box(settings)

    def why(subscription: Kept) -> str | None:
        try:
            stored = parse_record(subscription.key.decode(errors="replace"), subscription.value)
        except ConfigurationError:
            return None
        try:
            box.decrypt_secrets(stored)
        except ConfigurationError as error:
            return str(error)
        return None

    return why
