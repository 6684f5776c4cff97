"""The seat on Faust, and what is checked before a worker sits on it.

consumer                             Faust's consumer: batches in, windows' prefixes committed, partitions given back
assignor, membership                 which partitions are assigned; the group joined again after a fencing
token_table                          access tokens in a Faust table
topics, preflight, initial_offsets   the topics, the brokers and the place where a group begins
"""
