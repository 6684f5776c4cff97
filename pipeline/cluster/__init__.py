"""What the topics tell of the whole cluster: any worker answers for every subscription, whoever owns its partition.

state                     its values
rows, positions           what the workers recorded of subscriptions; where these stand
effects                   what a command does in each partition
verdicts, sending         who would get an event; writes one
backup                    the file of a backup
restore, restoring        puts back what it has; makes that fit other revisions
audit, remembered         records who changed what; requests that may come twice
attempts                  the format of the attempt log
attempt_recorder          notes what becomes of attempts and of events, as an observer of the core
attempt_log               writes these notes
attempt_search            finds them: the fate of an event
attempt_pages             the attempts of a subscription, newest first
fate                      what is concluded of an event
log_scan                  reads stretches of a topic for a limited time
notifications             what operators are told of, found out by an observer of the core
notification_outlets      where that goes: a topic and a webhook
retention_watch           finds events that retention is about to delete
announcement, announcer   what a worker says of itself, and how it is written
own_state                 reads that from the worker's live objects
ownership                 who owns which partition
rows_seen, workers_seen   the newest row of each lane; the newest announcement of each worker
joining, failures         the state of a subscription; why several fail
search, state_index       what subscriptions are searched and filtered by
view                      follows the topics, and answers
session                   the view, open for one command
explanation               a subscription's state as a paragraph, and what to do
shown                     the state as JSON
"""
