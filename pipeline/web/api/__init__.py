"""The JSON API below /api.

api                              all operations
operations                       what an operation takes, answers and needs: the one description of each route
reading                          reads query, body and conditions of a request
models, event_models             the shapes of requests and answers
openapi                          describes the operations as OpenAPI 3.1
serving                          operations as pages of Faust's web server; errors as problem details
writing                          the store of a worker: opened when needed, few changes at a time
subscriptions, actions           the operations on subscriptions; pause, resume, skip, replay...
lookup                           what a principal may see
cluster, bulk                    the whole cluster; all subscriptions of a filter
attempts                         the attempts of a subscription, what became of an event
events, dead_letters, secrets    who would get an event, test events; dead letters; new signing secrets
states                           the state of deliveries
"""

from pipeline.web.api.api import attach_api

__all__ = ["attach_api"]
