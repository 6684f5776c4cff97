"""The command `webhooks console`."""

import click

from pipeline.cli.running import errors_as_sentences


@click.command("console")
def command() -> None:
    """Serve the API and the health checks for the whole cluster, without delivering anything.

    Every worker serves them too. In a large cluster, a process of its own keeps questions away from deliveries, and can
    be reached while workers start and stop. It takes no partitions. The settings are those of a worker:
    WEBHOOKS_WEB_BIND, WEBHOOKS_WEB_PORT and WEBHOOKS_ADMIN_TOKEN say where it listens, and who may ask.
    """
    from pipeline.cli.console.run import run  # noqa: PLC0415 - this loads Faust, which shell completion does not need

    with errors_as_sentences():
        run()
