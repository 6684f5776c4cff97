import pytest

from pipeline.core.errors import ConfigurationError
from pipeline.core.subscription import Auth, BasicAuth, NoAuth, OAuth2Auth, TokenAuth
from pipeline.http.credentials import static_authorization


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        (NoAuth(), None),
        (OAuth2Auth("https://token.example/", "id", "secret"), None),
        # The examples of RFC 7617 sections 2 and 2.1, and RFC 6750 section 2.1.
        (BasicAuth("Aladdin", "open sesame"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
        (BasicAuth("test", "123£"), "Basic dGVzdDoxMjPCow=="),
        (BasicAuth("a", "b:c"), "Basic YTpiOmM="),
        (BasicAuth("", ""), "Basic Og=="),
        (TokenAuth("mF_9.B5f-4.1JqM"), "Bearer mF_9.B5f-4.1JqM"),
    ],
)
def test_each_kind_of_credentials_has_its_authorization_header(auth: Auth, expected: str | None) -> None:
    assert static_authorization(auth) == expected


@pytest.mark.parametrize(
    ("auth", "field"),
    [
        (BasicAuth("a:b", "hidden"), "auth.basic.username"),
        (BasicAuth("a\n", "hidden"), "auth.basic.username"),
        (BasicAuth("a", "hidden\0"), "auth.basic.password"),
        (TokenAuth("hidden\r\nX: y"), "auth.token.value"),
        (TokenAuth("hidden token"), "auth.token.value"),
        (TokenAuth("hiddenü"), "auth.token.value"),
        (TokenAuth(""), "auth.token.value"),
    ],
)
def test_unsendable_credentials_are_named_and_not_shown(auth: Auth, field: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{field}: ") as refused:
        static_authorization(auth)
    assert "hidden" not in str(refused.value)
