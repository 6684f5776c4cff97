"""Everything that uses Kafka through aiokafka, without Faust.

connection                           how clients connect
records, internals                   patches of aiokafka: its record parser; everything else
topics, admin, unreachable           names and sizes of topics; administration; why a cluster can't be reached
operations                           the operations that the brokers allow
source_log, topic_ids                the bounds of the source topic's log; the topic's id
committed                            what the group has committed, and the notes beside it
log_positions, group_positions       where each partition begins, ends, and passes a time; where a group stands
event_count, newest_keys             counts one subscription's events; reads the keys of the newest events
newest_values                        reads the newest value of each key of a compacted topic
kept_state                           reads all that an application keeps, as it is stored, and writes it
one_event                            reads one record
bounded_reading                      the consumer of these, which reads for a bounded time
cursors, cursor_rows, row_format     the fenced store of cursor rows; reading them for commands; their bytes
topic_rows, row_keys                 the rows of one source topic in that store; whose a row is
log_reader, tail                     reads the log again for lanes that are behind; follows a compacted topic
follower                             follows a topic for people, who are told what can't be read
following                            what follower and tail share: the consumer, and how they try again
group_members                        which member of a group has which partition
expansion                            new partitions of the source topic
default_partition                    the partition that Kafka's default partitioner gives to a key
dead_letters, letters, redrive       writes, reads and redrives dead letters
"""
