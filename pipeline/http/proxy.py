"""Chooses the route to a URL: direct, or through an HTTP or SOCKS proxy."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.request import (  # type: ignore[attr-defined]  # proxy_bypass_environment is there, but not in the stubs
    getproxies,
    proxy_bypass_environment,
)

from yarl import URL

from pipeline.core.errors import ConfigurationError
from pipeline.core.socks_credentials import credentials_problem
from pipeline.core.subscription import Proxy
from pipeline.http.credentials import basic_authorization
from pipeline.http.socks import DEFAULT_PORT, VERSIONS, SocksProxy

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ProxyRoute:
    """A proxy, ready to connect through.

    Attributes:
        url: the URL of the proxy, without userinfo.
        authorization: the value of Proxy-Authorization, for an HTTP proxy with credentials.
        socks: the SOCKS proxy; None for an HTTP proxy.
    """

    url: URL
    authorization: str | None = field(default=None, repr=False)
    socks: SocksProxy | None = None


@dataclass(frozen=True, slots=True)
class SystemProxies:
    """The proxies that the environment names (`http_proxy`, `https_proxy`, `all_proxy`, `no_proxy`), read once."""

    by_scheme: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def from_environment(cls) -> "SystemProxies":
        """The proxies of the environment, or else of the system's settings."""
        return cls(getproxies())

    def for_url(self, url: URL) -> str | None:
        """The proxy for *url*; None for a direct connection."""
        named = self.by_scheme.get(url.scheme) or self.by_scheme.get("all")
        if named is None or proxy_bypass_environment(url.host or "", dict(self.by_scheme)):
            return None
        # A value without a scheme, as in `http_proxy=proxy:3128`, is common.
        return named if _SCHEME.match(named) else f"http://{named}"


def proxy_route(proxy: Proxy | None, system: SystemProxies | None, url: URL) -> ProxyRoute | None:
    """The route to *url*: *proxy* if given, otherwise the proxy in *system*; None for a direct connection.

    Raises:
        ConfigurationError: the proxy's URL is invalid.
    """
    if proxy is not None:
        return _route(proxy.url, proxy.username, proxy.password)
    named = None if system is None else system.for_url(url)
    return None if named is None else _route(named, None, None)


def _route(text: str, username: str | None, password: str | None) -> ProxyRoute:
    try:
        url = URL(text)
    except ValueError:
        raise ConfigurationError("proxy: is not a URL") from None
    if url.scheme not in {"http", "https", *VERSIONS} or not url.host:
        allowed = ", ".join(["http", "https", *VERSIONS])
        raise ConfigurationError(f"proxy: needs a host and one of the schemes {allowed}, not {url.scheme!r}")
    if username is None and password is None:
        username, password = url.user, url.password
    bare = url.with_user(None).with_path("/")
    if url.scheme in VERSIONS:
        return ProxyRoute(bare, socks=_socks(url, username, password))
    if username is None and password is None:
        return ProxyRoute(bare)
    return ProxyRoute(bare, basic_authorization(username or "", password or "", "proxy"))


def _socks(url: URL, username: str | None, password: str | None) -> SocksProxy:
    version = VERSIONS[url.scheme]
    problem = credentials_problem(version, username, password)
    if problem is not None:
        name, sentence = problem
        raise ConfigurationError(f"proxy.{name}: {sentence}")
    return SocksProxy(version, url.host or "", url.port or DEFAULT_PORT, username or None, password or None)
