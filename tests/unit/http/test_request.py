import asyncio
from collections.abc import Sequence

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser, RawRequestMessage
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.clock import Clock, SystemClock
from pipeline.core.model import PlainEvent
from pipeline.core.subscription import Auth, Header, JwtProfileAuth, NoAuth, Subscription, TokenAuth
from pipeline.core.webhook_ids import FIRST_ID, SEAL, WebhookIds
from pipeline.http.request import RequestHead, Target, request_head

IDS = WebhookIds((b"key",))
NO_AUTH = NoAuth()
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class StoppedClock:
    def now(self) -> float:
        return 1614265330.9

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError


def head(
    *headers: Header,
    auth: Auth = NO_AUTH,
    url_authorization: str | None = None,
    left_out: list[str] | None = None,
    signing_secrets: tuple[str, ...] = (),
    clock: Clock | None = None,
    target: Target | None = None,
) -> RequestHead:
    return request_head(
        Subscription("sub-1", 1, "", headers=headers, auth=auth, signing_secrets=signing_secrets),
        target or Target("/hook?a=b", "example.com"),
        url_authorization=url_authorization,
        user_agent="webhooks/1",
        clock=clock or SystemClock(),
        left_out=([] if left_out is None else left_out).append,
        ids=IDS,
    )


def sealed(webhook_id: str, value: bytes = b"body") -> list[tuple[str, bytes]]:
    """The headers that a redrive writes."""
    seal = IDS.seal(event(value=value), webhook_id)
    assert seal is not None
    return [(FIRST_ID, webhook_id.encode()), (SEAL, seal)]


def event(*headers: tuple[str, bytes], value: bytes | None = b"body") -> PlainEvent:
    return PlainEvent("events", 3, 41, b"sub-1", value, headers)


def fields(request: bytes) -> list[tuple[str, str]]:
    lines = request.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    return [(name, value) for name, _, value in (line.partition(": ") for line in lines)]


def values(request: bytes, name: str) -> list[str]:
    return [value for key, value in fields(request) if key.lower() == name]


def test_an_event_without_headers_is_sent_as_documented() -> None:
    assert head(Header("X-Team", "a")).request(event(), 2) == (
        b"POST /hook?a=b HTTP/1.1\r\n"
        b"Host: example.com\r\n"
        b"webhook-subscription: sub-1\r\n"
        b"X-Team: a\r\n"
        b"User-Agent: webhooks/1\r\n"
        b"content-type: application/json\r\n"
        b"webhook-id: events-3-41\r\n"
        b"webhook-attempt: 2\r\n"
        b"content-length: 4\r\n"
        b"\r\n"
        b"body"
    )


def test_a_record_s_header_wins_whatever_the_case_of_its_name() -> None:
    request = head(Header("X-Team", "a"), Header("X-Other", "b")).request(event(("x-TEAM", b"c")), 1)
    assert values(request, "x-team") == ["c"]
    assert values(request, "x-other") == ["b"]


@pytest.mark.parametrize("name", ["X-Api-Key", "x-api-KEY", "X_Api_Key", "x.api.key", "x-Signature"])
def test_a_record_replaces_no_credential_of_a_subscription(name: str) -> None:
    left_out: list[str] = []
    it = head(Header("X-Api-Key", "a"), Header("X_Signature", "b"), left_out=left_out)
    assert it.request(event((name, b"forged")), 1) == it.request(event(), 1)
    assert left_out == [name]
    assert values(head(Header("X-Team", "a")).request(event((name, b"own")), 1), name.lower()) == ["own"]


@pytest.mark.parametrize(
    ("subscription", "record", "expected"),
    [
        (None, None, "application/json"),
        ("text/a", None, "text/a"),
        ("text/a", b"text/b", "text/b"),
        (None, b"x/y", "x/y"),
    ],
)
def test_content_type_comes_from_the_record_or_the_subscription(
    subscription: str | None, record: bytes | None, expected: str
) -> None:
    headers = () if subscription is None else (Header("Content-Type", subscription),)
    of_record = () if record is None else (("CONTENT-type", record),)
    assert values(head(*headers).request(event(*of_record), 1), "content-type") == [expected]


def test_only_the_first_of_duplicate_record_headers_is_sent() -> None:
    left_out: list[str] = []
    request = head(left_out=left_out).request(event(("a", b"1"), ("A", b"2"), ("a", b"3")), 1)
    assert values(request, "a") == ["1"]
    assert left_out == ["A", "a"]


def test_a_valid_header_is_sent_after_an_invalid_one_of_its_name() -> None:
    left_out: list[str] = []
    request = head(Header("a", "0"), left_out=left_out).request(event(("a", b"1\n2"), ("a", b"3")), 1)
    assert values(request, "a") == ["3"]
    assert left_out == ["a"]


@pytest.mark.parametrize(
    "name",
    [
        "Host", "content-LENGTH", "Transfer-Encoding", "Connection", "Keep-Alive", "Proxy-Connection", "TE", "Trailer",
        "Upgrade", "Proxy-Authorization", "Proxy-Authenticate", "Expect", "HTTP2-Settings", "Accept-Encoding",
        "Authorization", "Cookie", "Proxy", "WebHook-Request-Origin", "webhook-request-rate",
        "webhook_id", "Webhook_Signature", "webhook_timestamp", "webhook.id", "webhook~attempt",
        "transfer_encoding", "Content_Length", "proxy_authorization", "KEEP_ALIVE", "webhook_request_origin",
        "webhook-id", "Webhook-Signature", "webhook-timestamp", "webhook-attempt", "webhook-subscription",
        "", " ", "a b", "a:b", "a\r\nb", "a\n", "\0", "ü", "a/b", "(a)", "a\x7f", "x" * 300, "ce_a b",
    ],
)  # fmt: skip
def test_headers_that_a_record_may_not_set_are_left_out(name: str) -> None:
    left_out: list[str] = []
    it = head(left_out=left_out)
    assert it.request(event((name, b"forged")), 1) == it.request(event(), 1)
    assert left_out == [name[:256]]


@pytest.mark.parametrize("value", [b"a\r\nX: y", b"a\nb", b"a\rb", b"a\0b", b"\x01", b"a\x7f", b"\x1b[0m"])
def test_a_value_with_control_characters_is_left_out(value: bytes) -> None:
    left_out: list[str] = []
    it = head(left_out=left_out)
    assert it.request(event(("x-a", value)), 1) == it.request(event(), 1)
    assert left_out == ["x-a"]


@pytest.mark.parametrize(
    ("value", "sent"),
    [(b"", b""), (b"  a\t", b"a"), (b"a\tb", b"a\tb"), ("grün".encode(), "grün".encode()), (b"\x80\xff", b"\x80\xff")],
)
def test_valid_values_are_sent_with_only_spaces_trimmed(value: bytes, sent: bytes) -> None:
    assert b"\r\nx-a: %b\r\n" % sent in head().request(event(("x-a", value)), 1)


def test_a_header_with_a_null_value_is_left_out_and_reported() -> None:
    left_out: list[str] = []
    null: Sequence[tuple[str, bytes]] = [("x-a", None)]  # type: ignore[list-item]  # Kafka knows null values
    assert values(head(left_out=left_out).request(event(*null), 1), "x-a") == []
    assert left_out == ["x-a"]


def test_cloud_event_attributes_follow_the_http_binding() -> None:
    request = head().request(
        event(
            ("ce_specversion", b"1.0"),
            ("ce_id", b"7"),
            ("ce_subject", 'Euro € 😀 "50%"'.encode()),
            ("ce_extra", b"a\r\nX: y"),
        ),
        1,
    )
    assert values(request, "ce-specversion") == ["1.0"]
    assert values(request, "ce-id") == ["7"]
    # The example of the binding, section 3.1.3.2.
    assert values(request, "ce-subject") == ["Euro%20%E2%82%AC%20%F0%9F%98%80%20%2250%25%22"]
    assert values(request, "ce-extra") == ["a%0D%0AX:%20y"]


def test_an_attribute_that_is_not_utf8_is_left_out() -> None:
    left_out: list[str] = []
    assert values(head(left_out=left_out).request(event(("ce_a", b"\xff")), 1), "ce-a") == []
    assert left_out == ["ce_a"]


def test_traceparent_is_passed_on() -> None:
    assert values(head().request(event(("traceparent", b"00-a-b-01")), 1), "traceparent") == ["00-a-b-01"]


def test_a_redrive_keeps_the_first_id_and_no_dead_letter_header() -> None:
    left_out: list[str] = []
    request = head(left_out=left_out).request(event(("dlq.reason", b"rejected"), *sealed("events-0-7"), ("a", b"b")), 1)
    assert values(request, "webhook-id") == ["events-0-7"]
    assert values(request, "a") == ["b"]
    assert not [name for name, _ in fields(request) if name.startswith("dlq.")]
    assert left_out == []


@pytest.mark.parametrize("value", [b"", b"a\r\nX: y", b" a", b"\0", b"events-0-7"])
def test_a_first_id_without_a_seal_is_replaced_and_reported(value: bytes) -> None:
    left_out: list[str] = []
    request = head(left_out=left_out).request(event(("dlq.webhook-id", value)), 1)
    assert values(request, "webhook-id") == ["events-3-41"]
    assert left_out == ["dlq.webhook-id"]


def test_only_auth_sets_the_authorization_header() -> None:
    left_out: list[str] = []
    it = head(
        Header("authorization", "Basic b"),
        Header("Cookie", "a=b"),
        auth=TokenAuth("a"),
        url_authorization="Basic u",
        left_out=left_out,
    )
    request = it.request(event(("Authorization", b"Bearer c")), 1)
    assert values(request, "authorization") == ["Bearer a"]
    assert values(request, "cookie") == []
    assert left_out == ["authorization", "Cookie", "Authorization"]


@pytest.mark.parametrize(("headers", "sent"), [((), "Basic u"), ((Header("authorization", "Key a"),), "Key a")])
def test_a_header_replaces_the_credentials_in_the_url(headers: tuple[Header, ...], sent: str) -> None:
    assert values(head(*headers, url_authorization="Basic u").request(event(), 1), "authorization") == [sent]


def test_without_auth_a_subscription_may_set_its_own_credentials() -> None:
    request = head(Header("Authorization", "Key a"), Header("Cookie", "a=b")).request(event(), 1)
    assert values(request, "authorization") == ["Key a"]
    assert values(request, "cookie") == ["a=b"]


@pytest.mark.parametrize(
    "header",
    [
        Header("Host", "x"),
        Header("Content-Length", "1"),
        Header("webhook-id", "x"),
        Header("webhook_id", "x"),
        Header("Transfer_Encoding", "chunked"),
        Header("Proxy", "http://x"),
        Header("a b", "x"),
        Header("a", "b\nc"),
    ],
)
def test_headers_that_a_subscription_may_not_set_are_left_out(header: Header) -> None:
    left_out: list[str] = []
    assert head(header, left_out=left_out).request(event(), 1) == head().request(event(), 1)
    assert left_out == [header.name]


def test_an_access_token_is_sent_with_the_attempt() -> None:
    assert values(head().request(event(), 1, "Bearer fresh"), "authorization") == ["Bearer fresh"]


@pytest.mark.parametrize("authorization", ["Bearer a\r\nX: y", "Bearer ü", "a\0"])
def test_an_unsendable_access_token_is_refused_and_not_shown(authorization: str) -> None:
    with pytest.raises(ValueError, match=r"^the access token is not a valid header value$"):
        head().request(event(), 1, authorization)


def test_a_record_without_a_value_has_an_empty_signed_body() -> None:
    it = head(signing_secrets=(SECRET,), clock=StoppedClock())
    request = it.request(event(value=None), 1)
    assert request.endswith(b"content-length: 0\r\n\r\n")
    assert request == it.request(event(value=b""), 1)


def test_each_attempt_is_signed_with_its_own_time() -> None:
    it = head(signing_secrets=(SECRET,), clock=StoppedClock())
    body = b'{"test": 2432232314}'
    request = it.request(event(*sealed("msg_p5jXN8AQM9LWM0D4loKWxJek", body), value=body), 1)
    assert values(request, "webhook-timestamp") == ["1614265330"]
    # The example of the specification's reference libraries.
    assert values(request, "webhook-signature") == ["v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="]


def test_no_representation_contains_a_secret() -> None:
    it = head(
        Header("X-Key", "hidden"),
        auth=TokenAuth("hidden"),
        signing_secrets=(SECRET,),
        target=Target("/", "h", "Basic hidden"),
    )
    assert "hidden" not in repr(it)
    assert SECRET[6:] not in repr(it)
    assert "hidden" not in repr(Target("/", "h", "Basic hidden"))


def test_a_subscription_id_with_any_characters_is_escaped() -> None:
    it = request_head(
        Subscription("a\r\nb ü%", 1, ""), Target("/", "h"), url_authorization=None, user_agent="u",
        clock=SystemClock(), left_out=list[str]().append, ids=IDS,
    )  # fmt: skip
    assert values(it.request(event(), 1), "webhook-subscription") == ["a%0D%0Ab%20%C3%BC%25"]


# How a server reads the requests

NAMES = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["Host", "content-length", "Transfer-Encoding", "ce_id", "dlq.webhook-id", "a", "A", "content-type"]
    ),
)
VALUES = st.one_of(
    st.binary(max_size=20), st.sampled_from([b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", b"chunked", b"0", b"a\r\nb: c"])
)
SUBSCRIPTION_HEADERS = st.lists(st.builds(Header, NAMES, st.text(max_size=12)), max_size=4)


def read_by_a_server(data: bytes) -> list[tuple[RawRequestMessage, bytes]]:
    """The requests that aiohttp's server reads. No bytes may be left."""
    loop = asyncio.new_event_loop()
    try:
        parser = HttpRequestParser(BaseProtocol(loop), loop, 2**16, max_line_size=2**16, max_field_size=2**16)
        messages, upgraded, tail = parser.feed_data(data)
        assert not upgraded
        assert tail == b""
        assert all(payload.is_eof() for _, payload in messages)
        return [(message, payload.read_nowait()) for message, payload in messages]
    finally:
        loop.close()


@given(
    record=st.lists(st.tuples(NAMES, VALUES), max_size=6),
    subscription=SUBSCRIPTION_HEADERS,
    body=st.binary(max_size=40),
    subscription_id=st.text(max_size=10),
)
def test_a_server_reads_any_input_as_the_intended_request(
    record: list[tuple[str, bytes]], subscription: list[Header], body: bytes, subscription_id: str
) -> None:
    it = request_head(
        Subscription(
            subscription_id.encode("utf-8", "replace").decode(), 1, "", headers=tuple(subscription), auth=TokenAuth("a")
        ),
        Target("/hook", "example.com"),
        url_authorization=None,
        user_agent="u",
        clock=SystemClock(),
        left_out=list[str]().append,
        ids=IDS,
    )
    [(message, read)] = read_by_a_server(it.request(event(*record, value=body), 1))
    assert (message.method, message.path, read) == ("POST", "/hook", body)
    names = [name.decode().lower() for name, _ in message.raw_headers]
    assert len(set(names)) == len(names)
    assert message.headers["host"] == "example.com"
    assert message.headers["content-length"] == str(len(body))
    assert message.headers["authorization"] == "Bearer a"
    assert message.headers["webhook-attempt"] == "1"
    assert not {"transfer-encoding", "connection", "upgrade", "cookie", "expect"} & set(names)


@given(
    record=st.lists(st.tuples(NAMES, VALUES), max_size=6),
    subscription=SUBSCRIPTION_HEADERS,
    body=st.binary(max_size=40),
)
def test_a_server_reads_two_requests_on_a_connection_as_two(
    record: list[tuple[str, bytes]], subscription: list[Header], body: bytes
) -> None:
    it = head(*subscription, auth=TokenAuth("a"))
    odd, plain, question = it.request(event(*record, value=body), 1), it.request(event(), 2), it.options({"X-A": "b"})
    read = read_by_a_server(odd + plain + question + odd)
    assert [(message.method, data) for message, data in read] == [
        ("POST", body),
        ("POST", b"body"),
        ("OPTIONS", b""),
        ("POST", body),
    ]


def test_no_repr_shows_a_credential() -> None:
    """Each of these objects may occur in a traceback, a log line or an error."""
    profile = JwtProfileAuth("https://id/?key=planted", "i", "s", "https://id/?key=planted", b"planted", "HS256")
    shown = [
        Target("/hook?key=planted", "h", "planted"),
        Subscription("s", 1, "https://h/?key=planted", headers=(Header("X-Api-Key", "planted"),), auth=profile),
    ]
    assert "planted" not in repr(shown)
