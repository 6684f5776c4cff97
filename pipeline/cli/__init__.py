"""`webhooks`: the pipeline's commands, and Faust's command line for this application.

main                               main(), which loads only the modules that a command needs
command_group                      a group that prints errors as sentences; the program's name
faust_commands                     Faust's commands with this application
running, output                    settings and logging of commands; tables, JSON and private files
check, send, match                 the pipeline's commands
existing                           whether the subscription of a command exists
import_gravitee, export_positions  migration from Gravitee, and back
backup, restore                    save and restore the application's state
groups                             the option of these two that names consumer groups
subscriptions, apply, replay       `webhooks subscriptions`
dlq, dlq_show                      `webhooks dlq`
filters, selection                 options that select subscriptions, and how to change them
named, bulk                        change the named subscriptions; change all that match
backups, outcomes                  back up subscriptions before a change; wait for its outcome
explain                            the state of a subscription, and what to do
attempts, event                    what was sent to a subscription; what became of an event
tail, top                          show the attempts, and the cluster, continuously
events                             options and arguments about events: body, headers, topic, times
changes                            makes and shows a change of subscriptions
recording                          records what a command changed, as the API does
previews                           shows the effect of a command in each partition
listing                            shows subscriptions with their state
completion                         shell completion
dev, console                       `webhooks dev`, `webhooks console`
supervisor                         `webhooks cluster`
"""

from pipeline.cli.main import main

__all__ = ["main"]
