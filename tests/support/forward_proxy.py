"""A forward proxy for tests. http: absolute-form (RFC 9112 section 3.2.2); https: tunnels (RFC 9110 section 9.3.6)."""

import asyncio
import ssl
from typing import Final

from tests.support.receiver import HOST, Request, read_request
from tests.support.tunnel import TunnelServer, tunnel

_REFUSAL: Final = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"


class ForwardProxy(TunnelServer):
    """The proxy; an async context manager.

    Args:
        authorization: the required value of Proxy-Authorization; None: not required.
        tls: the TLS context of the proxy, if clients connect to it with TLS.

    Attributes:
        requests: the received heads, CONNECT or POST.
    """

    def __init__(self, authorization: str | None = None, *, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls)
        self.requests: list[Request] = []
        self._authorization = authorization

    @property
    def url(self) -> str:
        """The URL of the proxy."""
        return f"{'http' if self._tls is None else 'https'}://{HOST}:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one request, or open a tunnel."""
        request = await read_request(reader)
        self.requests.append(request)
        if request.header("proxy-authorization") != self._authorization:
            writer.write(_REFUSAL)
            await writer.drain()
            return
        method, target, _ = request.line.split(" ")
        authority = target if method == "CONNECT" else target.removeprefix("http://").partition("/")[0]
        host, _, port = authority.rpartition(":")
        answers, questions = await asyncio.open_connection(host, int(port))
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            questions.write(_forwarded(request, target.removeprefix(f"http://{authority}")))
        # Only one request per connection is parsed. Later bytes are forwarded unread.
        await tunnel(reader, writer, (answers, questions))


def _forwarded(request: Request, path: str) -> bytes:
    lines = [f"{name}: {value}" for name, value in request.headers if not name.startswith("proxy-")]
    return "\r\n".join([f"POST {path} HTTP/1.1", *lines, "", ""]).encode("latin-1") + request.body
