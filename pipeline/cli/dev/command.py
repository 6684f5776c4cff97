"""`webhooks dev`: the whole pipeline on this machine, without other software or settings."""

from functools import partial
from importlib import import_module

import click

from pipeline.cli.running import end_cleanly_on_signals

PORT = click.IntRange(1, 65535)


@click.command("dev")
@click.option("--web-port", type=PORT, help="Port of the pages; a free port by default.")
@click.option("--receiver-port", type=PORT, help="Port of the receiver; a free port by default.")
@click.option("-v", "--verbose", is_flag=True, help="Also show the INFO lines of the worker's log.")
def command(*, web_port: int | None, receiver_port: int | None, verbose: bool) -> None:
    """Run a broker, a worker, a receiver and four subscriptions, and send an event each second, until Ctrl-C.

    Everything runs in memory and on loopback. Nothing is left at the end.
    """
    end_cleanly_on_signals()
    # Imported here because it loads Faust, which `webhooks dev --help` does not need.
    run = import_module("pipeline.cli.dev.run").run
    run(web_port=web_port, receiver_port=receiver_port, verbose=verbose, say=partial(print, flush=True))
