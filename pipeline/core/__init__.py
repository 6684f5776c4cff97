"""The rules and the queues of delivery, without Kafka, HTTP, Faust or pydantic.

What can happen, and what follows:

model, subscription          the values: events and their headers, rows, causes; subscriptions
outcome, policy              what happened in an attempt; what to do about it
observer, dead_letter        what the core reports; events that are given up
ports                        what lane, partition and worker need from one another, and from Kafka

The path of one event:

window, ahead                which offset of a partition may be committed; which events after it are settled
lane, lane_state             a subscription in one partition; its states
lane_view                    the part of a lane that other modules may read
probing                      how a lane recovers from FAILURE by itself
lane_events                  where a lane's events are; its parts:
lane_queue, queue_memory       events in memory; the memory of all queues of a worker
held_offsets, in_log           offsets held by the window; events left to the log
progress, claims               what is settled; the events that at-most-once has passed but not sent
waiting                      how many events of a lane wait, and since when
in_flight, attempts          an event in flight; its attempts
runner, delivery, waits      delivers a lane's events; makes one attempt; waits between attempts
rate_limit, concurrency      when an attempt may begin
lease                        until when a worker may assume that it owns its partitions
filters, explanation         which events match a filter; why an event does not match
matching                     which subscriptions an event matches
addressed                    events that were written for one subscription, with `routing: match`
partition, dispatcher        the lanes of one partition; a worker's partitions of one source topic
sources                      the dispatchers of all source topics
opening                      restores lanes from the rows of a partition's former owner
beginnings                   where subscriptions begin, with `routing: match`
reconcile, commands          applies revisions of subscriptions to lanes; carries out their commands
pending                      which commands the owner of a partition has not carried out yet
lane_rows                    when cursor rows are written
log_bounds                   whether a stored offset is still valid

Used by all packages:

clock, errors, bounded       time; exceptions; a dict of bounded size
keys                         record keys
credentials, redaction       which names mean credentials; masks secrets
encryption, derived_keys     secrets at rest
webhook_ids                  the id that an event is sent with, and the seal of events that the pipeline writes
shown                        makes untrusted values safe to show
socks_credentials            checks credentials for a SOCKS proxy
patches                      whether patches of libraries take effect
"""
