"""What Gravitee and its tools write, read as the one shape that config/definition.py and subscriptions know.

shapes       finds APIs and subscriptions in Console exports, answers of the management API, resources and states
terraform    the resources in Terraform's JSON
losses       what of an API would be lost, and would change what receivers get
pruned       a document without the parts that have no effect here
masked       a definition with its secrets masked
"""
