"""Health, metrics and a page for people, on Faust's own web server.

Reading order: attach (what is served), access (to whom) and admin_tokens, key_ring, key_source, jwks for its signed
tokens, problem and headers (how answers look), then the pages: health, metrics, lanes, page.
"""

from pipeline.web.access import Access
from pipeline.web.attach import BUILT_IN_PAGES_OFF, attach_web, web_options

__all__ = ["BUILT_IN_PAGES_OFF", "Access", "attach_web", "web_options"]
