"""The command `webhooks console`."""

import click


@click.command("console")
def command() -> None:
    """Serve the pages, the API and the health checks for the whole cluster, without delivering anything.

    Every worker serves them too. In a large cluster, the console takes this load off the workers, and can be reached
    while workers start and stop. It is assigned no partitions. The settings are those of a worker: the console listens
    on WEBHOOKS_WEB_BIND and WEBHOOKS_WEB_PORT, and WEBHOOKS_ADMIN_TOKEN gives access.
    """
    from pipeline.cli.console.run import run  # noqa: PLC0415 - this loads Faust, which shell completion does not need

    run()
