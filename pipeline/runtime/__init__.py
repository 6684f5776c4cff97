"""The seat on Faust, and what is checked before a worker sits on it.

consumer, consumer_thread            Faust's consumer: batches in, offsets committed, partitions given back
permitted_consumer                   goes on when a right is refused, and granted again
assignor, membership                 which partitions are assigned; the group joined again after a fencing
log_check                            committed offsets and rows compared with the log
token_table                          access tokens in a Faust table
topics, preflight, initial_offsets   the topics, the brokers and the place where a group begins
rights, allowance                    every right that a worker needs; what a worker does without one
engine                               what has a lifetime beside Faust's own parts
open_files                           the limit of open files
"""
