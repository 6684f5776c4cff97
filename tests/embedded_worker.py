"""`webhooks worker` for an embedded broker, which no setting can name: `webhooks dev` alone runs one."""

import asyncio
import sys

from mode.loop import use

from pipeline.app import create_app
from pipeline.definition import load_definition
from pipeline.dev.project import embedded
from pipeline.settings import Settings
from pipeline.topics import count_partitions


def main() -> None:
    """Run a worker on the settings of the environment."""
    use("uvloop")
    settings = Settings()
    definition = embedded(load_definition(settings.api))
    partitions = asyncio.run(count_partitions(definition.source.connection, definition.source.topic))
    sys.argv = ["webhooks", "worker"]
    create_app(settings, definition, partitions).main()


if __name__ == "__main__":
    main()
