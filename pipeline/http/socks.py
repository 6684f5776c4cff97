"""Connects to the receiver through a SOCKS proxy (SOCKS4a; SOCKS5, RFC 1928 and RFC 1929), with python-socks.

The proxy resolves host names, as HTTP proxies do.
"""

import os
import socket
from dataclasses import dataclass, field
from typing import Any, Final

from python_socks import ProxyError, ProxyType
from python_socks.async_.asyncio import Proxy

VERSIONS: Final = {"socks4": 4, "socks4a": 4, "socks5": 5, "socks5h": 5}
"""The SOCKS version by the scheme of the proxy's URL. With every scheme the proxy resolves names."""

DEFAULT_PORT: Final = 1080

_TYPES: Final = {4: ProxyType.SOCKS4, 5: ProxyType.SOCKS5}
_NO_LIMIT_SECONDS: Final = 86_400.0
"""Passed to python-socks, which needs a limit. The real limit is the connect timeout of the caller."""


@dataclass(frozen=True, slots=True)
class SocksProxy:
    """A SOCKS proxy.

    Attributes:
        version: 4 or 5.
        username: for SOCKS5 the user name, used with *password*; for SOCKS4 the user id, used alone.
    """

    version: int
    host: str
    port: int
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)


class SocksError(ConnectionError):
    """The proxy was reached, but made no connection to the receiver. Nothing was sent to the receiver.

    Attributes:
        reason: why there is no connection, without credentials and without text from the proxy.
        is_refusal: whether the proxy answered that it refuses to connect or can't connect.
    """

    def __init__(self, reason: str, *, is_refusal: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_refusal = is_refusal


async def connect_on(proxy: SocksProxy, sock: socket.socket, host: str, port: int) -> None:
    """Ask *proxy*, to which *sock* is connected, to connect to *host* and *port*. The caller sets the time limit.

    Any exception, including a cancellation, closes the socket.

    Raises:
        SocksError: the proxy refuses, closes the connection, or does not speak SOCKS.
        UnicodeError: *host* is not a host name.
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
    """Gives python-socks a connected socket. By itself, it would look up the proxy again, and try only one address."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    async def connect(self, *_args: Any, **_options: Any) -> socket.socket:
        """The socket; all arguments are ignored."""
        return self._sock


def _uncapitalized(text: str) -> str:
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]
