"""`python -m tests.faults`: see command.py."""

from tests.faults.command import main

if __name__ == "__main__":
    main()
