"""The integration with Faust, and the checks before a worker starts.

application                          the Faust application
consumer, consumer_thread            its consumer: hands out batches, commits offsets, gives partitions back
retrying_consumer                    retries requests that the brokers refuse for lack of rights
assignor, membership                 assigns partitions; rejoins the group after a fencing
commit_pace                          how long to wait between two commits
log_check, log_checks                compares committed offsets with the log: of one source topic; of all source topics
token_table                          access tokens in a Faust table
topics, preflight, initial_offsets   checks topics and brokers; commits a group's first offsets
side_topics                          the topics that only show what happens; deliveries do not need them
rights, rights_watch                 finds missing rights; reports them while a worker runs
engine                               starts and stops the parts of a process, and runs their tasks
stop_deadline                        ends a worker that does not stop
open_files                           the limit of open files
"""
