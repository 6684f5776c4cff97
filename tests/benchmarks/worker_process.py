"""Runs the program `webhooks` as a module: `python -m tests.benchmarks.worker_process worker`."""

from pipeline.cli import main

if __name__ == "__main__":
    main()
