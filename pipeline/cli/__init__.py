"""`webhooks`: the pipeline's commands, and Faust's command line for this application.

main                               main(), which loads only the modules that a command needs
faust_commands                     Faust's commands with this application
running, output                    settings, logging and errors of commands; tables and JSON
check, send, subscriptions, dlq    the pipeline's commands
positions, noted, listing          a subscription's positions; the delivery state that workers recorded; showing both
completion                         shell completion
dev                                `webhooks dev`
"""

from pipeline.cli.main import main

__all__ = ["main"]
