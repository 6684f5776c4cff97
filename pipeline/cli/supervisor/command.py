"""`webhooks cluster`: the command and its options."""

import sys
from typing import Final

import click

from pipeline.cli.running import end_cleanly_on_signals
from pipeline.cli.supervisor.machine import run

AUTO: Final = "auto"
MOST_WORKERS: Final = 256


class WorkerCount(click.ParamType):
    """A number of workers, or `auto`."""

    name = "N|auto"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """The number; None for `auto`."""
        text = str(value)
        if text == AUTO:
            return None
        if not text.isdecimal() or not 1 <= int(text) <= MOST_WORKERS:
            self.fail(f"{text!r} is not allowed: 1 to {MOST_WORKERS}, or {AUTO}", param, ctx)
        return int(text)


@click.command("cluster")
@click.option(
    "--workers",
    type=WorkerCount(),
    metavar="N|auto",
    default=AUTO,
    show_default=True,
    help="Number of workers; auto: one for each core that this process may use.",
)
def command(*, workers: int | None) -> None:
    """Run several workers on this machine until Ctrl-C or SIGTERM.

    Each worker is a process with the settings of this process, except for the port (WEBHOOKS_WEB_PORT and the following
    ports) and the directory (worker-1, worker-2... in WEBHOOKS_DATA_DIR). Limits such as WEBHOOKS_MAX_IN_FLIGHT and
    WEBHOOKS_WORKER_BYTES apply to each worker. A worker that ends is always restarted, after a pause of up to 30
    seconds. The output of all workers is written to stderr, each line with the name of its worker.

    The exit code is 0 if every worker stopped cleanly. A second signal kills the workers that have not stopped yet.
    """
    end_cleanly_on_signals()
    sys.exit(0 if run(workers) else 1)
