"""Reads the formats of Gravitee and its tools into the one that config/definition.py and subscriptions/ read.

shapes       finds APIs and subscriptions in Console exports, answers of the management API, resources and states
terraform    the resources in Terraform's JSON
losses       parts of an API whose loss would change what receivers get
pruned       a document without the parts that have no effect here
masked       a definition with its secrets masked
"""
