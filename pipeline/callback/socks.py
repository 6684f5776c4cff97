"""The way through a SOCKS proxy: a socket that the proxy has connected (SOCKS4a; SOCKS5, RFC 1928 and RFC 1929).

Names are resolved by the proxy, as HTTP proxies do it. The protocol is spoken by python-socks.
"""

import os
import socket
from dataclasses import dataclass, field
from typing import Final

from python_socks import ProxyConnectionError, ProxyError, ProxyType
from python_socks.async_.asyncio import Proxy

KINDS: Final = {
    "socks4": ProxyType.SOCKS4,
    "socks4a": ProxyType.SOCKS4,
    "socks5": ProxyType.SOCKS5,
    "socks5h": ProxyType.SOCKS5,
}
"""By the scheme of a proxy's URL."""

DEFAULT_PORT: Final = 1080

_NO_LIMIT_SECONDS: Final = 86_400.0
"""The connect timeout of whoever asks is the limit."""


@dataclass(frozen=True, slots=True)
class SocksProxy:
    """A SOCKS proxy.

    Attributes:
        scheme: one of `KINDS`.
        username: of SOCKS5 with *password*; of SOCKS4 the user id, alone.
    """

    scheme: str
    host: str
    port: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)


class SocksError(ConnectionError):
    """The proxy gave no connection; nothing was sent to the receiver. Its text is a sentence without credentials."""


async def tunnel(proxy: SocksProxy, host: str, port: int) -> socket.socket:
    """A socket to *host* and *port*, connected by *proxy*; the caller's timeout is the only one.

    Raises:
        SocksError: the proxy can't be reached, refuses, or answers something else than SOCKS.
    """
    where = f"the proxy {proxy.host}:{proxy.port}"
    client = Proxy(
        KINDS[proxy.scheme],
        proxy.host,
        proxy.port,
        username=proxy.username,
        password=proxy.password,
        rdns=True,
    )
    try:
        return await client.connect(host, port, timeout=_NO_LIMIT_SECONDS)
    except ProxyConnectionError as error:
        raise SocksError(f"no connection to {where}: {_reason(error)}") from None
    except ProxyError as error:
        raise SocksError(f"{where} gave no connection to {host}:{port}: {error}") from None
    except (OSError, ValueError) as error:
        raise SocksError(f"{where} gave no connection to {host}:{port}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    # The text of a failed connection repeats the address and the errno.
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    number = getattr(cause, "errno", None)
    if isinstance(number, int) and number > 0:
        return os.strerror(number)
    return getattr(cause, "strerror", None) or type(cause).__name__
