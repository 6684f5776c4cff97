"""The command `webhooks console`."""

import click


@click.command("console")
def command() -> None:
    """Serve the pages, the API and the health checks for the whole cluster, without delivering anything.

    Every worker serves them too. In a large cluster, a separate process takes this load off the workers, and can be
    reached while they start and stop. It takes no partitions. The settings are those of a worker: WEBHOOKS_WEB_BIND and
    WEBHOOKS_WEB_PORT say where it listens, WEBHOOKS_ADMIN_TOKEN gives access.
    """
    from pipeline.cli.console.run import run  # noqa: PLC0415 - this loads Faust, which shell completion does not need

    run()
