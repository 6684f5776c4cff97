"""The rules and the queues of delivery. No Kafka, HTTP, Faust or pydantic in here.

What can happen, and what follows:

model, subscription          the values: events, rows, causes; what is asked for
outcome, policy              what happened in an attempt; what is done about it
observer, dead_letter        what the core reports; an event that is given up
ports                        what a lane asks of its partition, a partition of its worker, a worker of Kafka

The way of one event:

window, ahead                what may be committed of one partition; what is settled beyond that
lane, lane_state             a subscription in one partition; its states
lane_view                    where a lane stands, for others
probing                      how a lane recovers from FAILURE without a person
lane_events                  where a lane's events are, of these parts:
lane_queue, queue_memory       in memory; what the queues of a worker take
held_offsets, unread           held by the window; left to the log
progress, claims               how far the lane has come; what at-most-once has passed before it is sent
waiting                      how many events of a lane wait, and since when
in_flight, attempts          an event on its way; its attempts
runner, delivery, waits      carries a lane's events; makes one attempt; waits between two
rate_limit, concurrency      when an attempt may begin
lease                        until when a worker may believe that its partitions are its own
filters, explanation         which events a subscription wants; why it does not want one
matching                     which subscriptions want an event
addressed                    events that were written for one subscription, with `routing: match`
partition, dispatcher        the lanes of one partition; a worker's partitions of one source topic
sources                      the dispatchers of all source topics
opening                      what the former owner of a partition left, taken up
beginnings                   where subscriptions begin, with `routing: match`
reconcile                    what people ask for, carried out
lane_rows, rows              when cursor rows are written; rows that were read
log_bounds                   whether an offset still means what it meant when it was noted

Used by all packages:

clock, errors, bounded       time; exceptions; a dict that forgets
keys, urls, record_headers   record keys, URLs and the names of record headers
credentials, redaction       which names mean credentials; what is masked
encryption, derived_keys     secrets at rest
webhook_ids                  the id that an event is sent under, and the seal of what the pipeline writes
shown                        how values of unknown quality are shown
socks_credentials            what a SOCKS proxy can be shown
patches                      whether the changes to libraries took effect
"""
