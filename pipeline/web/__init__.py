"""Health, metrics and a page for people, on Faust's own web server.

server, gate                               what is served; how many connections, and for how long
access                                     to whom
admin_tokens, key_ring, key_source, jwks   signed tokens of operators
problem, headers                           how answers look
health, lanes, presence, page              the pages (templates/ has their HTML)
waiting                                    what is served while a worker waits for its rights
"""

from pipeline.web.access import Access
from pipeline.web.server import BUILT_IN_PAGES_OFF, attach_web, web_options

__all__ = ["BUILT_IN_PAGES_OFF", "Access", "attach_web", "web_options"]
