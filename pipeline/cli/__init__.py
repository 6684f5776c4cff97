"""`webhooks`: Faust's command line with this application, and commands of our own beside Faust's.

main                               which command needs what, and main()
faust_commands                     Faust's own commands, given the application
running, output                    settings, logging and errors of the own commands; tables and JSON
check, send, subscriptions, dlq    own commands
standing, noted                    where a subscription stands, and what the workers have noted of it
completion                         completion of a shell
dev                                `webhooks dev`
"""

from pipeline.cli.main import main

__all__ = ["main"]
