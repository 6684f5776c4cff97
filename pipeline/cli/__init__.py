"""`webhooks`: Faust's command line with this application, and commands of our own beside Faust's.

group.py            which command needs what, and main()
faust_commands.py   Faust's own commands, given the application
running.py          settings, logging and errors of the own commands
output.py           tables and JSON
check.py send.py subscriptions.py dev.py     own commands
dlq.py              own commands on dead letters: letters.py reads them, redrive.py writes them back
"""

from pipeline.cli.group import main

__all__ = ["main"]
