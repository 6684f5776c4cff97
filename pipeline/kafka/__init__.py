"""Everything that speaks to Kafka through aiokafka; nothing of Faust.

connection                           how clients connect
records, internals                   what is changed in aiokafka: its parser, and all else
topics, admin, unreachable           names and sizes of topics; administration; what to say when no broker answers
operations                           what the brokers allow
source_log, topic_ids                where the source's log begins and ends; which topic it is
event_count, newest_keys             a subscription's events in a stretch of it; the keys of its newest events
cursors, cursor_rows, row_format     the fenced store of cursor rows; the rows as commands read them; their bytes
log_reader, tail                     the log read again for lanes that are behind; a compacted topic followed
expansion                            partitions that the source topic gains
default_partition                    the partition that Kafka's default partitioner gives to a key
dead_letters, letters, redrive       dead letters written, read and sent again
"""
