import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.credentials import change_query_credentials, names_credential, query_credentials


@pytest.mark.parametrize(
    "name",
    [
        "Authorization", "Proxy-Authorization", "Cookie", "X-Service-Credential", "X-Service-Credentials", "X-Auth",
        "X-Auth-Token", "xAuthToken", "X-Passphrase", "X_API_KEY", "X-ApiKey", "apikey", "Ocp-Apim-Subscription-Key",
        "Token", "access_token", "accessToken", "ACCESS_TOKEN", "sig", "X-Amz-Signature", "X-Amz-Credential", "key",
        "secret", "client.secret", "password", "pwd", "X-Session", "sharedaccesskey", "XServiceCredentials", "jwt",
    ],
)  # fmt: skip
def test_names_of_credentials_are_recognised(name: str) -> None:
    assert names_credential(name)


@pytest.mark.parametrize(
    "name",
    ["X-Team", "Content-Type", "Accept", "User-Agent", "X-Author", "authority",
     "id", "topic", "", "X-Company", "design", "X-Country-Code", "spin", "passenger", "1", "-"],
)  # fmt: skip
def test_other_names_are_not_credentials(name: str) -> None:
    assert not names_credential(name)


def masked(url: str) -> str:
    return change_query_credentials(url, lambda name, _: f"<{name}>")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h/?access_token=a%20b&x=1", "https://h/?access_token=<access_token>&x=1"),
        ("https://h/p?x=1;sig=a=b==&y#f", "https://h/p?x=1;sig=<sig>&y#f"),
        ("https://h?token=1&token=2&Token=3", "https://h?token=<token>&token=<token 2>&Token=<Token>"),
        ("https://h/?api%5Fkey=1&access+token=2", "https://h/?api%5Fkey=<api_key>&access+token=<access token>"),
        ("https://h/?code=1&countrycode=2&key=&secret", "https://h/?code=<code>&countrycode=2&key=&secret"),
        ("https://h/#?key=1", "https://h/#?key=1"),
        ("https://h/key=1", "https://h/key=1"),
        ("https://h/?a=?key=1&&=2&%ff=3", "https://h/?a=?key=1&&=2&%ff=3"),
        ("", ""),
    ],
)
def test_the_credentials_of_a_query_are_found(url: str, shown: str) -> None:
    assert masked(url) == shown


def test_the_credentials_of_a_query_are_listed_undecoded() -> None:
    assert query_credentials("https://h/?key=a%2Fb&x=1&sig=c") == ["a%2Fb", "c"]


PARTS = st.sampled_from(["key", "sig", "x", "=", "&", ";", "?", "#", "%", "%20", "+", "2", "ü", "a", "/", "********"])


@pytest.mark.parametrize("url", ["https://h/?key=a&key=b&key+2=c", "https://h/?key+2=c&key=a&key=b&key+2=d"])
def test_query_parameters_with_equal_names_get_distinct_names(url: str) -> None:
    names: list[str] = []

    def noted(name: str, value: str) -> str:
        names.append(name)
        return value

    change_query_credentials(url, noted)
    assert len(set(names)) == len(names) == url.count("=")


def test_a_long_name_is_not_cached() -> None:
    for name in ("X-" + "a" * 100_000 + "-Token", "X-" + "a" * 100_000):
        references = sys.getrefcount(name)
        assert names_credential(name) is name.endswith("-Token")
        assert sys.getrefcount(name) == references


@given(st.lists(PARTS).map("".join))
def test_the_rest_of_a_url_is_unchanged(rest: str) -> None:
    url = f"https://h/{rest}"
    assert change_query_credentials(url, lambda _, value: value) == url
    # A second call gets the changed values with the same names, and restores the original values.
    known: dict[str, str] = {}

    def remembered(name: str, value: str) -> str:
        known[name] = value
        return "enc:v2:AA=="

    changed = change_query_credentials(url, remembered)
    assert change_query_credentials(changed, lambda name, _: known[name]) == url
