"""Subscriptions: read, kept, followed and changed.

schema, envelope, fields             the documents, strictly read
auth_schema, auth, jwt_profile       who the pipeline is to a receiver
tls_schema, tls, key_check           whom it trusts; whether keys are any good
filters                              which events are wanted, compiled
resolve, advisories                  what the delivery path uses; what people should know
secrets                              encrypted at rest, masked for people
registry, record_reader              what every worker knows of them, read from their topic
store, session                       what commands write; a store for the time of one command
"""
