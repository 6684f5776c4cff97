"""Reads, stores, follows and changes subscriptions.

schema, envelope, fields             the documents and their strict validation
auth_schema, auth, jwt_profile       authentication to the receiver
tls_schema, tls, key_check           trusted certificates and client keys; validation of keys
filters                              compiles filters
resolve, advisories                  turns documents into values of the delivery path; warnings
start_offsets, group_start_offsets   where a subscription begins, with `routing: match`
routing_evidence                     helps to choose a routing if none is configured
secrets                              encrypts secrets at rest, masks them for people
gravitee, gravitee_import            turns Gravitee's subscriptions into documents, alone or with their API
group_names                          the consumer group of each subscription
registry, record_reader              follow the subscriptions' topic in every worker
checks, differences                  what applying a document would do; which fields would change
store, edits, writer                 makes changes; how a change builds on the stored document; its record
crossing                             keeps what other processes change at the same moment
session                              a store for the duration of one command
"""
