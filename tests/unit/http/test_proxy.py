import pytest
from yarl import URL

from pipeline.core.errors import ConfigurationError
from pipeline.core.subscription import Proxy
from pipeline.http.proxy import SystemProxies, proxy_route
from pipeline.http.socks import SocksProxy

SYSTEM = SystemProxies(
    {"http": "proxy.example:3128", "https": "http://user:hidden@tls.example:8080", "no": "inside.example,127.0.0.1"}
)


def test_without_a_proxy_the_route_is_direct() -> None:
    assert proxy_route(None, None, URL("http://a.example/")) is None
    assert proxy_route(None, SystemProxies(), URL("http://a.example/")) is None


def test_a_configured_proxy_is_used_instead_of_the_system_s() -> None:
    route = proxy_route(Proxy("http://own.example:1", "user", "hidden"), SYSTEM, URL("http://inside.example/"))
    assert route is not None
    assert route.url == URL("http://own.example:1/")
    assert route.authorization == "Basic dXNlcjpoaWRkZW4="
    assert "hidden" not in repr(route)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://a.example/", "http://proxy.example:3128/"),
        ("https://a.example/", "http://tls.example:8080/"),
        ("http://inside.example/", None),
        ("https://deep.inside.example:8443/", None),
        ("http://127.0.0.1:80/", None),
    ],
)
def test_system_proxies_depend_on_scheme_and_exceptions(url: str, expected: str | None) -> None:
    route = proxy_route(None, SYSTEM, URL(url))
    assert (None if route is None else str(route.url)) == expected


def test_credentials_are_removed_from_the_url_of_a_proxy() -> None:
    route = proxy_route(None, SYSTEM, URL("https://a.example/"))
    assert route is not None
    assert route.authorization == "Basic dXNlcjpoaWRkZW4="
    assert "hidden" not in repr((route, SYSTEM))


def test_an_http_proxy_gets_a_password_without_a_user_name() -> None:
    route = proxy_route(Proxy("http://user:other@own.example:1", None, "hidden"), None, URL("http://a.example/"))
    assert route is not None
    assert route.authorization == "Basic OmhpZGRlbg=="


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("socks4://own.example", SocksProxy(4, "own.example", 1080)),
        ("socks4a://user@own.example:1", SocksProxy(4, "own.example", 1, "user")),
        ("socks5://[::1]:1", SocksProxy(5, "::1", 1)),
        ("socks5h://us%20er:hid%3Aden@own.example:1", SocksProxy(5, "own.example", 1, "us er", "hid:den")),
    ],
)
def test_the_scheme_of_a_socks_proxy_names_its_version(named: str, expected: SocksProxy) -> None:
    route = proxy_route(None, SystemProxies({"all": named}), URL("https://a.example/"))
    assert route is not None
    assert (route.socks, route.authorization) == (expected, None)
    assert "den" not in repr(route)


def test_the_variable_all_proxy_applies_to_every_scheme() -> None:
    route = proxy_route(None, SystemProxies({"all": "http://all.example:1"}), URL("https://a.example/"))
    assert route is not None
    assert route.url.host == "all.example"


@pytest.mark.parametrize("url", ["ftp://hidden.example:1", "socks5://", "http://", "http://[::1", "hidden", ""])
def test_an_unusable_proxy_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^proxy: ") as refused:
        proxy_route(Proxy(url), None, URL("http://a.example/"))
    assert "hidden" not in str(refused.value)


def test_the_environment_is_read_only_when_a_proxy_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://env.example:1")
    system = SystemProxies.from_environment()
    monkeypatch.delenv("https_proxy")
    assert system.for_url(URL("https://a.example/")) == "http://env.example:1"
