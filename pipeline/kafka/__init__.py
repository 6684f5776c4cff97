"""Everything that speaks to Kafka through aiokafka; nothing of Faust.

connection                           how clients connect
records, internals                   what is changed in aiokafka: its parser, and all else
topics, admin, unreachable           names and sizes of topics; administration; what to say when no broker answers
cursors                              the fenced store of cursor rows
log_reader, tail                     the log read again for lanes that are behind; a compacted topic followed
expansion                            partitions that the source topic gains
dead_letters, letters, redrive       dead letters written, read and sent again
"""
