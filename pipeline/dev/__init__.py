"""`webhooks dev`: everything in one process, to see it work before there is a Kafka.

run.py        an embedded broker, the worker, and around it
receiver.py     a receiver that prints each call and misbehaves on command
samples.py      three subscriptions and a trickle of events
project.py    settings and definition, in a folder that lives as long as the process
"""
