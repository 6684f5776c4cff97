"""Health, metrics, the API and pages for people, on Faust's own web server.

server, gate                               the routes; limits on connections and their time
access, failure_limit                      access control; limits on wrong tokens
principal, tenant_limits                   the caller and its rights; limits on what one tenant may use
admin_tokens, key_ring, key_source, jwks   operators' signed tokens
problem, headers                           error format and common headers
health, lanes, presence                    health checks, and the lanes of this worker
pages                                      the pages for people
api                                        the JSON API
waiting                                    health checks during a wait at start-up
"""

from pipeline.web.access import Access
from pipeline.web.api import attach_api
from pipeline.web.pages import PageSources, attach_pages
from pipeline.web.server import BUILT_IN_PAGES_OFF, attach_web, web_options

__all__ = ["BUILT_IN_PAGES_OFF", "Access", "PageSources", "attach_api", "attach_pages", "attach_web", "web_options"]
