"""Where the requests of a subscription go, computed once: the request target, and what to connect to."""

import re
from asyncio import AbstractEventLoop
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from ssl import SSLContext
from typing import Final
from urllib.parse import quote

from aiohttp import ClientRequest
from aiohttp.client_reqrep import ConnectionKey
from yarl import URL

from pipeline.core.errors import ConfigurationError
from pipeline.core.subscription import HttpLimits
from pipeline.http.credentials import basic_authorization
from pipeline.http.proxy import ProxyRoute
from pipeline.http.request import Target
from pipeline.http.socks import SocksProxy

_SCHEMES: Final = ("http", "https")
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*(%(25)?[A-Za-z0-9._~-]+)?")
"""A name as in DNS, or an IPv6 address with or without a zone: safe in the lines of a request."""
_ORIGIN: Final = re.compile(r"https?://[A-Za-z0-9._~:@%\[\]-]+(?=[/?#]|$)")
_PLAIN: Final = re.compile(_ORIGIN.pattern + r"(/[A-Za-z0-9_~/-]*(?:\?[A-Za-z0-9_~=&-]*)?)")
"""Matches URLs whose target can be sent as written, without a slow parser."""
_STRAY_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_KEPT: Final = "!#$%&'()*+,-./:;=?@[]_~"
"""Characters besides letters and digits that are sent unencoded: those of RFC 3986 in path and query, and brackets."""


class Dial(ClientRequest):
    """Tells aiohttp's connector where to connect; it is not sent. Objects with equal keys may share connections.

    Attributes:
        socks: the SOCKS proxy to use, which aiohttp does not support (connector.Connector).
        idle_seconds: how long a connection may be idle.
    """

    socks: SocksProxy | None = None
    idle_seconds: float = 0.0

    @cached_property
    def connection_key(self) -> ConnectionKey:  # aiohttp computes it on every access
        """Host, port, TLS, proxy and idle timeout: requests with the same key share connections."""
        key = super().connection_key
        socks = self.socks
        # The key contains the SOCKS proxy, its credentials and the idle timeout, so only equal ones share connections.
        if socks is None:
            return key._replace(proxy_headers_hash=hash((key.proxy_headers_hash, self.idle_seconds)))
        return key._replace(
            proxy=URL.build(scheme=f"socks{socks.version}", host=socks.host, port=socks.port),
            proxy_headers_hash=hash((socks, self.idle_seconds)),
        )


@dataclass(frozen=True, slots=True)
class Destination:
    """A URL with its route and options. All requests of a subscription go there.

    Attributes:
        where: host and port, for messages.
        dial: tells the connector where to connect.
        target: the parts of a request that name its target.
        url_authorization: Basic credentials from the URL's userinfo.
        connect_timeout_seconds: the time limit for name lookup, TCP, TLS and proxy tunnel together.
        read_timeout_seconds: the time limit from the first byte of the request to the last byte of the answer.
        is_proxied: whether the route includes a proxy.
        is_forwarded: whether the proxy reads the request and sends a request of its own, instead of forwarding bytes.
    """

    where: str
    dial: Dial = field(repr=False)
    target: Target
    url_authorization: str | None = field(repr=False)
    connect_timeout_seconds: float
    read_timeout_seconds: float
    is_proxied: bool = False
    is_forwarded: bool = False

    def with_target(self, target: str) -> "Destination":
        """The same destination with another path and query. For direct connections only: a proxy gets the whole URL."""
        return replace(self, target=Target(target, self.target.host))


def origin_of(text: str) -> str | None:
    """The origin of a URL, with its userinfo; None if this needs a full parser."""
    found = _ORIGIN.match(text)
    return None if found is None else found.group()


def parse_url(text: str) -> URL:
    """The URL of a callback or a token endpoint.

    Raises:
        ConfigurationError: *text* is not an http or https URL, or has no host. The error does not show *text*, which
            may contain secrets.
    """
    try:
        url = URL(text)
        if url.scheme not in _SCHEMES or not url.host or not url.port:
            raise ConfigurationError(f"the URL needs a host and the scheme http or https, not {url.scheme!r}")
        if _HOST.fullmatch(url.raw_host or "") is None:
            raise ConfigurationError("the host in the URL is neither a name nor an address")
    except ValueError:
        raise ConfigurationError("the URL can't be read") from None
    return url


def written_target(text: str) -> str:
    """Path and query of a URL that `parse_url` accepted, as they were written.

    A receiver may distinguish `%2F` from `/`, or verify a signature of the URL. So only characters that are invalid in
    a request are encoded.

    Raises:
        ConfigurationError: the URL contains a lone surrogate.
    """
    plain = _PLAIN.fullmatch(text)
    return _parsed_target(text) if plain is None else plain.group(1)


def _parsed_target(text: str) -> str:
    url = URL(text, encoded=True)
    has_empty_query = not url.raw_query_string and text.partition("#")[0].endswith("?")
    written = url.raw_path_qs + "?" * has_empty_query
    try:
        return quote(_STRAY_PERCENT.sub("%25", written), safe=_KEPT)
    except UnicodeEncodeError:
        raise ConfigurationError("the URL can't be read") from None


def destination_of(
    url: URL,
    *,
    target: str,
    tls: SSLContext | None,
    proxy: ProxyRoute | None,
    limits: HttpLimits,
    loop: AbstractEventLoop,
) -> Destination:
    """The destination for *url*.

    Args:
        url: a URL that `parse_url` returned.
        target: a path and query that `written_target` returned.
        tls: the TLS context for https, and for an https proxy.
        proxy: the proxy; None for a direct connection.
        limits: the timeouts.
        loop: the running event loop.

    Raises:
        ConfigurationError: the userinfo is not a valid header value.
    """
    bare = url.with_user(None).with_fragment(None)
    where = f"{bare.host_subcomponent}:{bare.port}"
    http_proxy = None if proxy is None or proxy.socks is not None else proxy
    dial = Dial(
        "POST",
        bare,
        proxy=None if http_proxy is None else http_proxy.url,
        proxy_headers=None if http_proxy is None else _proxy_headers(http_proxy),
        ssl=True if tls is None else tls,
        server_hostname=_server_hostname(bare),
        loop=loop,
    )
    dial.socks = None if proxy is None else proxy.socks
    dial.idle_seconds = limits.idle_timeout_seconds
    return Destination(
        where=where,
        dial=dial,
        target=_target(bare, target, http_proxy),
        url_authorization=None
        if url.user is None
        else basic_authorization(url.user, url.password or "", "callbackUrl"),
        connect_timeout_seconds=limits.connect_timeout_seconds,
        read_timeout_seconds=limits.read_timeout_seconds,
        is_proxied=proxy is not None,
        is_forwarded=http_proxy is not None and url.scheme == "http",
    )


def _server_hostname(url: URL) -> str | None:
    """The name for TLS if it differs from the host: it has no trailing dot (RFC 6066 section 3)."""
    host = url.raw_host or ""
    return host.rstrip(".") if host.endswith(".") else None


def _target(url: URL, target: str, proxy: ProxyRoute | None) -> Target:
    host = url.host_port_subcomponent or ""
    if proxy is None or url.scheme == "https":
        return Target(target, host)
    return Target(f"{url.scheme}://{host}{target}", host, proxy.authorization)


def _proxy_headers(proxy: ProxyRoute) -> Mapping[str, str]:
    return {} if proxy.authorization is None else {"Proxy-Authorization": proxy.authorization}
