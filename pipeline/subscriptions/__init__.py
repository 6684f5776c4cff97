"""Reads, stores, follows and changes subscriptions.

schema, envelope, fields             the documents and their strict validation
auth_schema, auth, jwt_profile       authentication to the receiver
tls_schema, tls, key_check           trusted certificates and client keys; validation of keys
filters                              compiles filters
resolve, advisories                  turns documents into values of the delivery path; warnings
start_offsets, group_start_offsets   which events a subscription is for, and from where on, with `routing: match`
routing_evidence                     helps to choose a routing where the definition does not say it
secrets                              encrypts secrets at rest, masks them for people
gravitee, gravitee_import            turns subscriptions of Gravitee into documents; with their API
group_names                          which consumer group belongs to which subscription
registry, record_reader              follow the subscriptions' topic in every worker
checks, differences                  what applying a document would do; which fields would differ
store, edits, writer                 makes changes; on what they build; their records
session                              a store for the duration of one command
"""
