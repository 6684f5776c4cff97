"""`webhooks dev`: everything in one process, to see it work before there is a Kafka.

command           the command
run               an embedded broker, the worker, and what stands around them
embedded_broker   a Kafka broker in this process
receiver          prints each call and misbehaves on command
samples           three subscriptions and a trickle of events
project           settings and definition, in a folder that lives as long as the process
"""
