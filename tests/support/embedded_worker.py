"""`webhooks worker` without the rest of the command line, for workers on the embedded broker."""

import sys

from mode.loop import use

from pipeline.app import create_app
from pipeline.config.definition import configured_definition
from pipeline.config.settings import Settings
from pipeline.worker import as_worker


def main() -> None:
    """Run a worker with the settings in the environment."""
    use("uvloop")
    settings = Settings()
    sys.argv = ["webhooks", "worker"]
    as_worker(create_app(settings, configured_definition(settings))).main()


if __name__ == "__main__":
    main()
