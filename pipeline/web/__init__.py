"""Health, metrics and a page for people, on Faust's own web server.

server, gate                               the routes; limits on connections and their time
access, principal, failure_limit           who may see them; limits on wrong tokens
admin_tokens, key_ring, key_source, jwks   operators' signed tokens
problem, headers                           error format and common headers
health, lanes, presence, page              the pages (templates/ has their HTML)
api                                        the JSON API
waiting                                    health checks while a worker waits for its rights
"""

from pipeline.web.access import Access
from pipeline.web.api import attach_api
from pipeline.web.server import BUILT_IN_PAGES_OFF, attach_web, web_options

__all__ = ["BUILT_IN_PAGES_OFF", "Access", "attach_api", "attach_web", "web_options"]
