"""`webhooks`: Faust's command line with this application, and the pipeline's own commands.

main                               the table of commands, and main()
faust_commands                     Faust's commands, with the application
running, output                    settings, logging and errors of the own commands; tables and JSON
check, send, subscriptions, dlq    the own commands
dev                                `webhooks dev`
"""

from pipeline.cli.main import main

__all__ = ["main"]
