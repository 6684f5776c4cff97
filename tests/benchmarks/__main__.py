"""`python -m tests.benchmarks`: see command.py."""

from tests.benchmarks.command import main

if __name__ == "__main__":
    main()
