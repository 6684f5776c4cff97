"""The integration with Faust, and the checks before a worker starts.

consumer                             Faust's consumer: batches in, windows' prefixes committed, partitions given back
assignor, membership                 assigns partitions; rejoins the group after fencing
token_table                          access tokens in a Faust table
topics, preflight, initial_offsets   checks of topics and brokers; the first offsets of a group
"""
