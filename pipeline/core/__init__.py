"""The rules and the queues of delivery. No Kafka, HTTP, Faust or pydantic in here.

model, outcome, policy          the values; what can happen in an attempt; what follows from it
window                          what may be committed of one partition
lane, in_flight, delivery       a subscription's queue and its states; an event on its way; one attempt to a decision
partition, reconcile            the lanes of one partition; what people ask for, carried out
dispatcher                      the partitions of one worker
ports, observer, dead_letter    what the core asks of others, and what it tells them
attempts, webhook_ids           what is remembered of failed attempts; the id that an event is sent under
rate_limit, concurrency, lease  when an attempt may begin
filters                         which events a subscription wants
clock, errors, redaction        used by all of them
"""
