"""Subscriptions: read, kept, followed and changed.

envelope.py and wire.py read them strictly, secrets.py encrypts their secrets at rest, spec.py turns them into what the
delivery path uses, registry.py follows their topic in every worker, store.py writes it for every command.
"""
