"""Health, metrics and a page for people, on Faust's own web server.

server                                what is served
access                                to whom
admin_tokens, key_ring, key_source, jwks   signed tokens of operators
problem, headers                      how answers look
health, lanes, page, templates        the pages
"""

from pipeline.web.access import Access
from pipeline.web.server import BUILT_IN_PAGES_OFF, attach_web, web_options

__all__ = ["BUILT_IN_PAGES_OFF", "Access", "attach_web", "web_options"]
