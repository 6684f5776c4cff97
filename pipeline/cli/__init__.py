"""`webhooks`: the pipeline's commands, and Faust's command line for this application.

main                               main(), which loads only the modules that a command needs
command_group                      a group that says which command may be meant; the name of the program
faust_commands                     Faust's commands with this application
running, output                    settings, logging and errors of commands; tables and JSON
check, send, match                 the pipeline's commands
import_gravitee, export_positions  takes over an API of Gravitee; the way back
backup, restore                    saves what the application keeps, and puts it back
groups                             their argument that names consumer groups
subscriptions, apply, replay       `webhooks subscriptions`
dlq, dlq_show                      `webhooks dlq`
filters, selection                 options that choose subscriptions by how they stand, and how to go about it
named, bulk                        change the subscriptions that were named; all that match
backups, outcomes                  write what is changed to a file first; wait for what comes of it
explain                            how a subscription stands, why, and what to do
attempts, event                    what was sent to a subscription; what became of an event
tail, top                          the attempts, and the cluster, as they change
events                             bodies and headers of events, as they are handed to commands
changes                            makes and shows a change of subscriptions
previews                           shows what a command does in each partition
listing                            shows subscriptions with how they stand
private_files                      new files that nobody else may read
completion                         shell completion
dev, console                       `webhooks dev`, `webhooks console`
supervisor                         `webhooks cluster`
"""

from pipeline.cli.main import main

__all__ = ["main"]
