"""`webhooks worker` for an embedded broker. No setting can name such a broker, because only `webhooks dev` uses one."""

import sys

from mode.loop import use

from pipeline.app import create_app
from pipeline.cli.dev.project import embedded
from pipeline.config.definition import configured_definition
from pipeline.config.settings import Settings
from pipeline.worker import as_worker


def main() -> None:
    """Run a worker with the settings in the environment."""
    use("uvloop")
    settings = Settings()
    definition = embedded(configured_definition(settings))
    sys.argv = ["webhooks", "worker"]
    as_worker(create_app(settings, definition)).main()


if __name__ == "__main__":
    main()
