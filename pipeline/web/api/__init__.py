"""The JSON API below /api.

api                              all operations
operations                       the description of an operation, from which its route is made
reading                          reads query, body and conditions of a request
models                           the models of requests and answers
cluster_models, event_models     those about the whole cluster; those about events, dead letters and secrets
openapi                          describes all operations as OpenAPI 3.1
serving                          serves operations on Faust's web server; turns errors into problem details
writing                          opens the store on first use; limits concurrent changes
subscriptions, actions           the operations on subscriptions; pause, resume, skip, replay...
lookup                           finds the subscriptions that a principal may see
cluster, bulk                    the state of the whole cluster; changes of all matching subscriptions
attempts                         the attempts of a subscription; what became of an event
events, dead_letters, secrets    matching and test events; dead letters; new signing secrets
states                           the interface to the view of the cluster
"""

from pipeline.web.api.api import attach_api

__all__ = ["attach_api"]
