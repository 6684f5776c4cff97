"""Reads, stores, follows and changes subscriptions.

schema, envelope, fields              the documents and their strict validation
auth_schema, auth, jwt_profile        authentication to the receiver
tls_schema, tls, key_check            trusted certificates and client keys; validation of keys
filters                               compiles filters
resolve, advisories                   turn documents into values of the delivery path; warnings
start_offsets, group_start_offsets    where a subscription begins, with `routing: match`
routing_evidence                      helps to choose a routing if none is configured
secrets                               encrypts secrets at rest, masks them for people
gravitee, gravitee_import             turns Gravitee's subscriptions into documents, alone or with their API
group_names                           the consumer group of each subscription
registry, record_reader, read_record  follow the subscriptions' topic in every worker
checks, differences                   find what applying a document would do, and which fields would change
store, edits, writer                  make a change; build it on the stored document; write its record
crossing, merging                     write a change; merge it with those of other processes at the same time
commands                              keeps the commands of earlier revisions with each record
session                               a store for the duration of one command
"""
