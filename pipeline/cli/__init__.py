"""`webhooks`: Faust's command line with this application, and commands of our own beside Faust's.

group.py          which command needs what, and main()
faust_commands.py Faust's own commands, given the application
running.py        what the own commands share: settings, logging, errors as sentences
check.py send.py subscriptions.py dlq.py dev.py     the own commands
"""

from pipeline.cli.group import main

__all__ = ["main"]
