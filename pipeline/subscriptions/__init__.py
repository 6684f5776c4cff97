"""Subscriptions: read, kept, followed and changed.

envelope.py and schema.py read them strictly, secrets.py encrypts their secrets at rest, resolve.py turns them into what
the delivery path uses, registry.py follows their topic in every worker, store.py writes it for every command.
"""
