"""Which way a URL is reached: straight, or through which HTTP proxy."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.request import (  # type: ignore[attr-defined]  # proxy_bypass_environment is there, but not in the stubs
    getproxies,
    proxy_bypass_environment,
)

from yarl import URL

from pipeline.auth.static import basic_authorization
from pipeline.errors import ConfigurationError
from pipeline.model import Proxy

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ProxyRoute:
    """A proxy as a connection needs it: its URL without userinfo, and the value of Proxy-Authorization."""

    url: URL
    authorization: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class SystemProxies:
    """The proxies that the environment names (`http_proxy`, `https_proxy`, `all_proxy`, `no_proxy`), read once."""

    by_scheme: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def from_environment(cls) -> "SystemProxies":
        """What the environment says now, or the system's settings where the environment says nothing."""
        return cls(getproxies())

    def for_url(self, url: URL) -> str | None:
        """The proxy for *url*; None where it is to be reached straight."""
        named = self.by_scheme.get(url.scheme) or self.by_scheme.get("all")
        if named is None or proxy_bypass_environment(url.host or "", dict(self.by_scheme)):
            return None
        # `http_proxy=proxy:3128` is common.
        return named if _SCHEME.match(named) else f"http://{named}"


def proxy_route(proxy: Proxy | None, system: SystemProxies | None, url: URL) -> ProxyRoute | None:
    """The way to *url*: the named proxy, else the system's, else straight (None).

    Raises:
        ConfigurationError: the proxy's URL can't be used.
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
    if url.scheme not in {"http", "https"} or not url.host:
        raise ConfigurationError(f"proxy: has the scheme {url.scheme!r}, must be http or https, and needs a host")
    if username is None:
        username, password = url.user, url.password
    authorization = None if username is None else basic_authorization(username, password or "", "proxy")
    return ProxyRoute(url.with_user(None).with_path("/"), authorization)
