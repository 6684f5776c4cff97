"""`webhooks dev`: the whole thing on this machine, with nothing to install and nothing to set."""

from functools import partial
from importlib import import_module

import click

from pipeline.cli.running import end_cleanly_on_signals, errors_as_sentences

PORT = click.IntRange(1, 65535)


@click.command("dev")
@click.option("--web-port", type=PORT, help="The port of the pages; a free one unless given.")
@click.option("--receiver-port", type=PORT, help="The port of the receiver; a free one unless given.")
@click.option("-v", "--verbose", is_flag=True, help="Show what the worker logs at INFO, too.")
def command(*, web_port: int | None, receiver_port: int | None, verbose: bool) -> None:
    """Try it: a broker, a worker, a receiver, three subscriptions and a trickle of events, until Ctrl-C.

    Everything is in memory and on loopback, and gone at the end.
    """
    end_cleanly_on_signals()
    # Loaded here: it brings Faust with it, which `webhooks dev --help` can do without.
    run = import_module("pipeline.cli.dev.run").run
    with errors_as_sentences():
        run(web_port=web_port, receiver_port=receiver_port, verbose=verbose, say=partial(print, flush=True))
