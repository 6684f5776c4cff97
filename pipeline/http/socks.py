"""The way through a SOCKS proxy: it connects a socket on to the receiver (SOCKS4a; SOCKS5, RFC 1928 and RFC 1929).

Names are resolved by the proxy, as HTTP proxies do it. The protocol is spoken by python-socks.
"""

import os
import socket
from dataclasses import dataclass, field
from typing import Any, Final

from python_socks import ProxyError, ProxyType
from python_socks.async_.asyncio import Proxy

VERSIONS: Final = {"socks4": 4, "socks4a": 4, "socks5": 5, "socks5h": 5}
"""By the scheme of a proxy's URL. Those that name the side that resolves are no different here: it is the proxy."""

DEFAULT_PORT: Final = 1080

_TYPES: Final = {4: ProxyType.SOCKS4, 5: ProxyType.SOCKS5}
_NO_LIMIT_SECONDS: Final = 86_400.0
"""The connect timeout of whoever asks is the limit."""


@dataclass(frozen=True, slots=True)
class SocksProxy:
    """A SOCKS proxy.

    Attributes:
        version: 4 or 5.
        username: of SOCKS5 with *password*; of SOCKS4 the user id, alone.
    """

    version: int
    host: str
    port: int
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)


class SocksError(ConnectionError):
    """The proxy was reached and gave no connection; nothing was sent to the receiver.

    Attributes:
        reason: why, without credentials and without what the proxy sent.
        is_refusal: it has understood, and does not want or could not.
    """

    def __init__(self, reason: str, *, is_refusal: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_refusal = is_refusal


async def connect_on(proxy: SocksProxy, sock: socket.socket, host: str, port: int) -> None:
    """Have *proxy* connect *sock*, which is connected to it, on to *host* and *port*; the caller sets the time limit.

    Whatever is raised, a cancellation too, the socket is closed then.

    Raises:
        SocksError: it refuses, goes away, or answers something else than SOCKS.
        UnicodeError: *host* is no host name.
    """
    client = Proxy(
        _TYPES[proxy.version],
        proxy.host,
        proxy.port,
        username=proxy.username,
        password=proxy.password,
        rdns=True,
        forward=_Connected(sock),
    )
    try:
        await client.connect(host, port, timeout=_NO_LIMIT_SECONDS)
    except ProxyError as error:
        raise SocksError(_uncapitalized(str(error)), is_refusal=error.error_code is not None) from None
    except UnicodeDecodeError:
        raise SocksError("malformed connect reply") from None
    except OSError as error:
        raise SocksError(os.strerror(error.errno) if error.errno else type(error).__name__) from None
    except UnicodeError:
        raise
    except ValueError as error:
        raise UnicodeError("longer than a host name can be") from error


class _Connected(Proxy):
    """A socket for python-socks to go on from; left alone, it tries one address of the proxy and looks it up anew."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    async def connect(self, *_args: Any, **_options: Any) -> socket.socket:
        """The socket, whatever is asked for."""
        return self._sock


def _uncapitalized(text: str) -> str:
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]
