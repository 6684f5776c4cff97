"""A worker on uvloop, as people run it; its settings come from the environment.

python -m tests.benchmarks.worker_process PARTITIONS
"""

import sys

import mode.loop


def main() -> None:
    """Run the worker until it is told to stop."""
    mode.loop.use("uvloop")
    # Faust patches what is imported after it has chosen the loop.
    from pipeline.app import create_app  # noqa: PLC0415
    from pipeline.definition import load_definition  # noqa: PLC0415
    from pipeline.settings import Settings  # noqa: PLC0415

    settings = Settings()
    partitions = int(sys.argv[1])
    sys.argv[1:] = ["worker"]
    create_app(settings, load_definition(settings.api), partitions).main()


if __name__ == "__main__":
    main()
