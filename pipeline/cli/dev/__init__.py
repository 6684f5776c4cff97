"""`webhooks dev`: runs everything in one process, to try the pipeline without a Kafka cluster.

command           the command
run               runs the embedded broker, the worker, the receiver and the samples
embedded_broker   a Kafka broker in this process
receiver          prints each call and misbehaves on command
samples           four subscriptions, and an event each second
project           settings and definition, in a directory that is removed at the end
"""
