"""Everything that uses Kafka through aiokafka, without Faust.

connection                           how clients connect
records                              patches of aiokafka's record parser
internals                            most other patches of aiokafka
lost_connections                     patches of aiokafka for requests on a connection that was just lost
topics, admin, unreachable           names and sizes of topics; administration; why a cluster can't be reached
operations                           the operations that the brokers allow
source_log, topic_ids                the bounds of the source topic's log; the topic's id
committed                            the group's commits, and their metadata
offset_times                         the offsets of given times
log_positions                        begin, end and offsets of given times of partitions
group_positions                      the positions and the members of groups
event_count                          counts one subscription's events
newest_values                        reads the newest value of each key of a compacted topic
kept_state                           reads the whole state of an application as it is stored, and writes it
bounded_reading                      reads for a bounded time: one record, the keys of the newest records
cursors, cursor_rows, row_format     the fenced store of cursor rows; reading them for commands; their format
json_fields                          checks the JSON of records that anyone may have written
topic_rows, row_keys                 the rows of one source topic in that store; the keys of rows
log_reader, tail                     reads the log again for lanes that are behind; follows a compacted topic
follower                             follows a topic for display, and says what can't be read
late_producer                        a producer that its first record starts
following                            the consumer and the retries of follower and tail
expansion                            new partitions of the source topic
default_partition                    the partition that Kafka's default partitioner chooses for a key
dead_letters, letters, redrive       writes, reads and redrives dead letters
"""
