"""Everything that speaks to Kafka through aiokafka; nothing of Faust.

connection, prompt_tls, disconnect   how clients connect, and how they end
topics, admin, unreachable           names and sizes of topics; administration; what to say when no broker answers
records, heartbeats                  what is added to aiokafka's parser and to its coordinator
cursors                              the fenced store of cursor rows
log_reader, tail                     the log read again for lanes that are behind; a compacted topic followed
expansion                            partitions that the source topic gains
dead_letters, letters, redrive       dead letters written, read and sent again
"""
