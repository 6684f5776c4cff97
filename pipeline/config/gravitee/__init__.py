"""Converts the formats of Gravitee and its tools into the format that config/definition.py and subscriptions/ read.

shapes       finds APIs and subscriptions in Console exports, answers from the management API, resources and states
terraform    finds resources in Terraform's JSON
losses       finds parts of an API whose loss would change what receivers get
pruned       removes the parts of a document that have no effect here
masked       masks the secrets of a definition
"""
