"""Health, metrics, the API and pages for people, on Faust's own web server.

server, gate                               register the routes; limit connections and the time that clients take
access, failure_limit                      control access; slow down senders of wrong tokens
principal, tenant_limits                   the caller and its rights; what one tenant may use at a time
admin_tokens, key_ring, key_source, jwks   verify signed tokens
problem, headers                           the error format; headers of every answer
health, lanes, presence                    health checks; the lanes of this worker; where a subscription is
pages                                      the pages for people
api                                        the JSON API
"""

from pipeline.web.access import Access
from pipeline.web.api import attach_api
from pipeline.web.pages import PageSources, attach_pages
from pipeline.web.server import BUILT_IN_PAGES_OFF, attach_web, web_options

__all__ = ["BUILT_IN_PAGES_OFF", "Access", "PageSources", "attach_api", "attach_pages", "attach_web", "web_options"]
