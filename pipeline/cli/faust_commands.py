"""Faust's command line (`worker`, `agents`, `tables`...). It gets the application when one of its commands runs.

The environment is read only then, so `--help` works without settings.
"""

import copy
import sys
from collections.abc import Container, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click
import mode.loop
from click.core import ParameterSource
from faust.cli.base import State, _Group
from faust.cli.faust import cli as faust_cli

from pipeline.cli.command_group import CommandGroup
from pipeline.cli.output import say
from pipeline.cli.running import end_cleanly_on_signals
from pipeline.config.definition import configured_definition
from pipeline.config.settings import Settings
from pipeline.config.web_address import check_web_port

if TYPE_CHECKING:
    from pipeline.runtime.application import DeliveryApp

WORKER: Final = "worker"

_WORKER_HELP: Final = """Deliver events until Ctrl-C or SIGTERM.

All workers with the same WEBHOOKS_APP share the partitions of the source topics, on any number of machines.
"""

LEFT_OUT: Final = {"app", "version", "loop"}
"""Options of Faust that have only one possible value here: this application, its version, uvloop."""

USELESS_COMMANDS: Final = {"clean-versions", "livecheck", "model", "models"}
"""Commands of Faust for features that are not used here. They are hidden, but accepted."""

HIDDEN_OPTIONS: Final = {
    "blocking_timeout",
    "console_port",
    "debug",
    "json",
    "quiet",
    "web_host",
    "web_transport",
    "workdir",
}
"""Options of Faust that have little or no use here. They are hidden, but accepted."""

OVERRIDES: Final = {"web_port": "web_port", "web_bind": "web_bind", "datadir": "data_dir", "loglevel": "log_level"}
"""Options of Faust, and the setting that each one overrides."""

LEVELS: Final = {"CRIT": "CRITICAL", "WARN": "WARNING"}
"""Faust's names of log levels that differ from those of the standard library."""


class _Program(CommandGroup, _Group):
    """Faust's command group, because Faust's commands look for values that only its contexts have."""


def with_faust_commands(own: Mapping[str, click.Command]) -> click.Group:
    """A group like Faust's main command, with the application, the help and the commands of this program.

    Args:
        own: the pipeline's commands. They replace commands of Faust with equal names.
    """
    adopted = {name: _adopt(name, command) for name, command in faust_cli.commands.items()}
    group = _Program(
        "webhooks",
        commands={**adopted, **own},
        callback=partial(_umbrella, frozenset(own)),
        params=[_described(option) for option in faust_cli.params if option.name not in LEFT_OUT],
        help="Delivers the events of a Kafka topic to the callback URLs of its subscriptions.",
        epilog="Settings come from the environment (WEBHOOKS_...) or from the YAML file that WEBHOOKS_CONFIG names.",
    )
    shows_all = click.option(
        "--help-all",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_show_all,
        help="Show this message and Faust's own commands, and exit.",
    )
    return shows_all(group)


def _show_all(context: click.Context, _: click.Parameter, is_wanted: bool) -> None:
    if not is_wanted or not isinstance(context.command, click.Group):
        return
    for name, command in context.command.commands.items():
        command.hidden = name in USELESS_COMMANDS
    say(context.get_help())
    context.exit()


def _umbrella(own: Container[str], /, **options: Any) -> None:
    name = click.get_current_context().invoked_subcommand
    if options["json"] and name in own:
        raise click.UsageError(f"--json is for Faust's commands; {name} has --output json instead")
    callback = faust_cli.callback
    if callback is not None:
        callback(app=None, loop="uvloop", **options)


def _adopt(name: str, command: click.Command) -> click.Command:
    """Change *command* so that the application is created immediately before it runs. Returns *command*."""
    adopted = copy.copy(command)
    adopted.hidden = name != WORKER
    if name == WORKER:
        adopted.help = _WORKER_HELP
    adopted.params = [_described(option) for option in command.params]
    run = command.callback
    make = _make_worker if command.name == WORKER else _make_described

    def run_with_application(**options: Any) -> Any:
        context = click.get_current_context()
        # Faust looks for the application here (faust.cli.base.AppCommand).
        context.find_root().app = make(context)  # type: ignore[attr-defined]  # Faust's own attribute
        return run(**options) if run is not None else None

    adopted.callback = run_with_application
    return adopted


def _described(option: click.Parameter) -> click.Parameter:
    """*option*. If it overrides a setting, its help names the setting instead of Faust's default."""
    if not isinstance(option, click.Option):
        return option
    described = copy.copy(option)
    described.hidden = option.name in HIDDEN_OPTIONS
    if option.name not in OVERRIDES:
        return described
    described.help, described.show_default = f"Overrides WEBHOOKS_{OVERRIDES[option.name].upper()}.", False
    return described


def _make_worker(context: click.Context) -> "DeliveryApp":
    from pipeline.worker import create_worker_app  # noqa: PLC0415 - help does without the application

    end_cleanly_on_signals()
    # Faust's table of versions is suppressed, because a worker prints only log lines.
    context.ensure_object(State).quiet = True
    if sys.platform != "win32":
        mode.loop.use("uvloop")
    settings = Settings(**_overrides(context))
    with_web = bool(context.params.get("with_web", True))
    if with_web:
        check_web_port(settings)
    return create_worker_app(settings, with_web=with_web)


def _make_described(context: click.Context) -> "DeliveryApp":
    """Create the application for commands that only inspect it. Connects to no broker."""
    from pipeline.app import create_app  # noqa: PLC0415 - help does without the application

    settings = Settings(**_overrides(context))
    return create_app(settings, configured_definition(settings))


def _overrides(context: click.Context) -> dict[str, Any]:
    """The settings that options on the command line override."""
    found: dict[str, Any] = {}
    for level in (context.find_root(), context):
        for option, setting in OVERRIDES.items():
            if level.get_parameter_source(option) is ParameterSource.COMMANDLINE:
                found[setting] = _value(context, level, option)
    return found


def _value(context: click.Context, level: click.Context, option: str) -> Any:
    if option != "loglevel":
        return level.params[option]
    # Faust stores this option in its state, with None for the default WARN.
    name = (context.ensure_object(State).loglevel or "WARN").upper()
    return LEVELS.get(name, name)
