"""`webhooks worker` for an embedded broker, which the definition of the test does not name as such."""

import dataclasses
import sys

from mode.loop import use

from pipeline.app import create_app
from pipeline.config.definition import Definition, configured_definition
from pipeline.config.settings import Settings
from pipeline.worker import as_worker


def embedded(definition: Definition) -> Definition:
    """The definition with its clusters marked as embedded."""
    source, dlq = definition.source, definition.dlq
    return dataclasses.replace(
        definition,
        source=dataclasses.replace(source, connection=dataclasses.replace(source.connection, embedded=True)),
        dlq=dlq and dataclasses.replace(dlq, connection=dataclasses.replace(dlq.connection, embedded=True)),
    )


def main() -> None:
    """Run a worker with the settings in the environment."""
    use("uvloop")
    settings = Settings()
    definition = embedded(configured_definition(settings))
    sys.argv = ["webhooks", "worker"]
    as_worker(create_app(settings, definition)).main()


if __name__ == "__main__":
    main()
