"""The state of the whole cluster, read from its topics: any worker can show and change every subscription.

state                     the values that describe the state
rows, positions           read the cursor rows of subscriptions, and their positions
effects                   the effect of a command in each partition
verdicts, sending         which subscriptions would get an event; writes an event
dead_letters              find the newest dead letters; redrive them
backup                    the format of a backup file
restore, restoring        restore a backup; adapt it to the new revisions
audit, remembered         record who changed what; recognise repeated requests
attempts                  the format of the attempt log
attempt_recorder          records the results of attempts and events, as an observer of the core
attempt_log               writes these results
attempt_search            searches them for attempts and for the fate of an event
attempt_pages             the attempts of a subscription, newest first
fate                      the conclusions about an event
log_scan                  reads stretches of a topic for a limited time
notifications             makes notifications for operators, as an observer of the core
notification_outlets      sends them to a topic and a webhook
retention_watch           finds events that retention is about to delete
announcement, announcer   the format of a worker's announcements; writes them
own_state                 makes announcements from the worker's live objects
ownership                 finds the owners of partitions
rows_seen, workers_seen   the newest row of each lane; the newest announcement of each worker
joining, failures         join the state of a subscription; group failures
search, state_index       indexes for searching and filtering subscriptions
silence                   merges the problems of a Kafka that does not answer
view                      follows the topics, and answers questions about them
session                   a view for the duration of one command
explanation               a subscription's state as a paragraph, with advice
shown                     the state as JSON
"""
