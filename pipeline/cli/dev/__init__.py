"""`webhooks dev`: everything in one process, to try the pipeline without a Kafka cluster.

command           the command
run               runs the embedded broker, the worker, the receiver and the samples
embedded_broker   a Kafka broker in this process
receiver          prints each call and misbehaves on command
samples           four subscriptions and a trickle of events
project           settings and definition, in a folder that is removed at the end
"""
