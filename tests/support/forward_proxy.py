"""A forward proxy for tests: absolute-form for http (RFC 9112 section 3.2.2), tunnels for https (RFC 9110 9.3.6)."""

import asyncio
import ssl
from typing import Final

from tests.support.receiver import HOST, Request, read_request
from tests.support.tunnel import TunnelServer, tunnel

_REFUSAL: Final = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"


class ForwardProxy(TunnelServer):
    """The proxy; an async context manager.

    Args:
        authorization: the value of Proxy-Authorization that it wants, if it wants one.
        tls: the proxy's context, for a proxy that is spoken to in TLS.

    Attributes:
        requests: the heads that it was sent, CONNECT or POST.
    """

    def __init__(self, authorization: str | None = None, *, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls)
        self.requests: list[Request] = []
        self._authorization = authorization

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'http' if self._tls is None else 'https'}://{HOST}:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one request on, or open a tunnel."""
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
        # One request per connection is enough here: what follows on it goes through unread.
        await tunnel(reader, writer, (answers, questions))


def _forwarded(request: Request, path: str) -> bytes:
    lines = [f"{name}: {value}" for name, value in request.headers if not name.startswith("proxy-")]
    return "\r\n".join([f"POST {path} HTTP/1.1", *lines, "", ""]).encode("latin-1") + request.body
