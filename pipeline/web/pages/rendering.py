"""Renders the templates, and serves their style sheet and script.

In text, HTML and the control characters that reverse the text direction are escaped (core/shown.py). In attributes,
only HTML is escaped (`|e`), so that forms keep their input.
"""

import asyncio
import hashlib
from html import escape
from importlib.resources import files
from typing import Any, Final
from urllib.parse import quote, urlencode

from aiohttp import hdrs, web
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipeline.core.clock import shown_time
from pipeline.core.shown import safe
from pipeline.observability.shown import shown_slow_start, shown_text
from pipeline.subscriptions.fields import instant
from pipeline.web.headers import CLOSED_POLICY, CONTENT_SECURITY_POLICY
from pipeline.web.pages import formats
from pipeline.web.pages.plots import HEIGHT, WIDTH
from pipeline.web.pages.view import LOOKS

TURN: Final = 1000
"""How many lanes or template pieces are processed before other tasks may run."""

POLICY: Final = CLOSED_POLICY.replace("form-action 'none'", "form-action 'self'") + (
    "; script-src 'self'; style-src 'self'; connect-src 'self'"
)
"""The content security policy of the pages: nothing inline, nothing from other sites.

Except for the pages' own script, no answer of a worker runs as a script: its content type and `nosniff` prevent this.
"""

ASSET_SECONDS: Final = 86_400


def _shown(value: object) -> Markup:
    return value if isinstance(value, Markup) else Markup(escape(safe(str(value), keep="\n\t")))  # noqa: S704 - escaped


TEMPLATES: Final = Environment(
    loader=PackageLoader("pipeline.web.pages"),
    autoescape=True,
    finalize=_shown,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
"""Escapes every value that a template shows."""

TEMPLATES.filters |= {
    "cut": shown_text,
    "span": formats.span,
    "number": formats.number,
    "duration": formats.duration,
    "milliseconds": formats.milliseconds,
    "rate": formats.rate,
    "moment": shown_time,
    "instant": instant,
    "slow_start": shown_slow_start,
    "path": lambda text: quote(text, safe=""),
}
TEMPLATES.globals |= {
    "ago": formats.ago,
    "plural": formats.plural,
    "waiting": formats.waiting,
    "query": lambda **values: urlencode({name: value for name, value in values.items() if value}),
    "looks": LOOKS,
    "plot_size": f"0 0 {WIDTH} {HEIGHT}",
}


async def render(template: str, **values: Any) -> str:
    """The document. Other tasks may run while it is rendered."""
    written = []
    for piece in _PAGES[template].generate(**values):
        written.append(piece)
        if len(written) % TURN == 0:
            await asyncio.sleep(0)
    return "".join(written)


def answer(text: str, status: int = 200) -> web.Response:
    """An answer that contains a document."""
    return web.Response(text=text, status=status, content_type="text/html", headers={CONTENT_SECURITY_POLICY: POLICY})


class Asset:
    """A file that pages load. Its address changes with its content.

    Args:
        name: the name of the file in templates/.
    """

    def __init__(self, name: str, content_type: str) -> None:
        self._body = files("pipeline.web.pages").joinpath("templates", name).read_bytes()
        self._content_type = content_type
        self.path = f"/{name}"
        self.address = f"{self.path}?{hashlib.sha256(self._body).hexdigest()[:12]}"

    async def serve(self, _request: web.Request, _principal: object) -> web.Response:
        """Answer with the file."""
        headers = {hdrs.CACHE_CONTROL: f"private, max-age={ASSET_SECONDS}"}
        return web.Response(body=self._body, content_type=self._content_type, charset="utf-8", headers=headers)


STYLE: Final = Asset("page.css", "text/css")
SCRIPT: Final = Asset("page.js", "text/javascript")
TEMPLATES.globals |= {"style": STYLE.address, "script": SCRIPT.address}

# The file is read now, because reading it later would block deliveries.
_PAGES: Final = {name: TEMPLATES.get_template(name) for name in TEMPLATES.list_templates(extensions=("html",))}
