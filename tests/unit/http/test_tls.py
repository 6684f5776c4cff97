"""TLS with real servers: trust, client certificates, and requests that provably did not arrive."""

import asyncio
import base64
import datetime as dt
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from aiohttp import ClientOSError

from pipeline.core.clock import SystemClock
from pipeline.core.errors import ConfigurationError
from pipeline.core.model import PlainEvent
from pipeline.core.outcome import Delivered, Failed, Outcome
from pipeline.core.subscription import HttpLimits, Subscription, TlsOptions
from pipeline.http.failures import not_answered
from pipeline.http.tls import TlsContexts, tls_context
from pipeline.http.webhook import Callback
from tests.support.calling import loopback_transport
from tests.support.costly_stores import element, number
from tests.support.receiver import Receiver, answer

AUTHORITY = trustme.CA()
STRANGER = trustme.CA()
CLIENT = AUTHORITY.issue_cert("client@example.com")
LAST_WEEK = dt.datetime.now(dt.UTC) - dt.timedelta(days=7)


def pem(authority: trustme.CA) -> str:
    return authority.cert_pem.bytes().decode()


def shown(certificate: trustme.LeafCert) -> TlsOptions:
    chain = "".join(blob.bytes().decode() for blob in certificate.cert_chain_pems)
    key = certificate.private_key_pem.bytes().decode()
    return TlsOptions(trusted_pem=pem(AUTHORITY), client_certificate_pem=chain, client_key_pem=key)


def server(
    certificate: trustme.LeafCert, client_authority: trustme.CA | None = None, newest: ssl.TLSVersion | None = None
) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    if newest is not None:
        context.maximum_version = newest
    if client_authority is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        client_authority.configure_trust(context)
    return context


RIGHT = AUTHORITY.issue_cert("127.0.0.1")
RIGHT_RSA = AUTHORITY.issue_cert("127.0.0.1", key_type=trustme.KeyType.RSA)
WRONG_HOST = AUTHORITY.issue_cert("elsewhere.example")
EXPIRED = AUTHORITY.issue_cert("127.0.0.1", not_after=LAST_WEEK)
UNKNOWN = STRANGER.issue_cert("127.0.0.1")


@dataclass
class Calls:
    stack: AsyncExitStack
    callback: Callback

    async def call(self, tls: ssl.SSLContext, options: TlsOptions) -> tuple[Receiver, Outcome]:
        receiver = await self.stack.enter_async_context(Receiver(answer(200), tls=tls))
        subscription = Subscription("s", 1, receiver.url, tls=options, http=HttpLimits(3, 3))
        return receiver, await self.callback(subscription, PlainEvent("t", 0, 0, b"s", b"body"), 1)


@pytest.fixture
async def calls() -> AsyncIterator[Calls]:
    async with AsyncExitStack() as stack:
        transport = await stack.enter_async_context(loopback_transport(4, 9))
        yield Calls(
            stack,
            Callback(transport, SystemClock(), user_agent="t/1", on_header_left_out=lambda _id, _name: None),
        )


@pytest.mark.parametrize(
    ("certificate", "options"),
    [
        (RIGHT, TlsOptions(trusted_pem=pem(AUTHORITY))),
        (WRONG_HOST, TlsOptions(trusted_pem=pem(AUTHORITY), verify_hostname=False)),
        (UNKNOWN, TlsOptions(trust_all=True)),
        (EXPIRED, TlsOptions(trust_all=True)),
        (WRONG_HOST, TlsOptions(trust_all=True, verify_hostname=True)),
    ],
    ids=["trusted", "any-host-name", "unknown-trust-all", "expired-trust-all", "wrong-host-trust-all"],
)
async def test_receivers_with_a_trusted_certificate_are_called(
    calls: Calls, certificate: trustme.LeafCert, options: TlsOptions
) -> None:
    receiver, outcome = await calls.call(server(certificate), options)
    assert outcome == Delivered(200)
    assert receiver.requests[0].body == b"body"


@pytest.mark.parametrize(
    ("certificate", "options", "why"),
    [
        (RIGHT, TlsOptions(), "unable to get local issuer certificate"),
        (UNKNOWN, TlsOptions(trusted_pem=pem(AUTHORITY)), "unable to get local issuer certificate"),
        (UNKNOWN, TlsOptions(trusted_pem=pem(AUTHORITY), verify_hostname=False), "unable to get local issuer"),
        (WRONG_HOST, TlsOptions(trusted_pem=pem(AUTHORITY)), "IP address mismatch"),
        (EXPIRED, TlsOptions(trusted_pem=pem(AUTHORITY)), "certificate has expired"),
    ],
    ids=["system-roots-only", "unknown", "unknown-any-host-name", "wrong-host", "expired"],
)
async def test_receivers_without_a_trusted_certificate_get_nothing(
    calls: Calls, certificate: trustme.LeafCert, options: TlsOptions, why: str
) -> None:
    receiver, outcome = await calls.call(server(certificate), options)
    assert isinstance(outcome, Failed)
    assert outcome.error.startswith(f"the certificate of 127.0.0.1:{receiver.port} is not trusted: ")
    assert why in outcome.error
    assert not outcome.may_have_arrived
    assert receiver.requests == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_server_that_asks_for_a_certificate_gets_it(calls: Calls, version: ssl.TLSVersion) -> None:
    _, outcome = await calls.call(server(RIGHT, AUTHORITY, version), shown(CLIENT))
    assert outcome == Delivered(200)


def refuse_one_handshake(listener: socket.socket, context: ssl.SSLContext) -> bytes | None:
    """The data that the application of a TLS server gets from the first connection; None if the handshake fails.

    The server uses OpenSSL on a plain socket, like most servers, because asyncio's TLS sends no alert before it closes.
    """
    connection, _ = listener.accept()
    connection.settimeout(5)
    with context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False) as secured:
        try:
            secured.do_handshake()
            return secured.recv(4096)
        except ssl.SSLError:
            # The alert has been sent. A reset because of unread data could overtake the alert.
            with socket.socket(fileno=secured.detach()) as plain:
                plain.settimeout(5)
                plain.shutdown(socket.SHUT_WR)
                while plain.recv(4096):
                    pass
            return None


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    "options",
    [TlsOptions(trusted_pem=pem(AUTHORITY)), shown(STRANGER.issue_cert("client@example.com"))],
    ids=["none", "wrong"],
)
async def test_a_refused_client_certificate_proves_nothing_arrived(
    calls: Calls, version: ssl.TLSVersion, options: TlsOptions
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        where = f"127.0.0.1:{listener.getsockname()[1]}"
        got = asyncio.create_task(asyncio.to_thread(refuse_one_handshake, listener, server(RIGHT, AUTHORITY, version)))
        subscription = Subscription("s", 1, f"https://{where}/", tls=options, http=HttpLimits(3, 3))
        outcome = await calls.callback(subscription, PlainEvent("t", 0, 0, b"s", b"body"), 1)
        assert await got is None
    assert isinstance(outcome, Failed)
    assert not outcome.may_have_arrived
    assert where in outcome.error
    assert "alert" in outcome.error


@pytest.mark.parametrize(("exchange", "is_offered"), [("ECDHE", True), ("DHE", False)])
async def test_a_server_can_not_choose_a_costly_modulus(
    calls: Calls, tmp_path: Path, exchange: str, is_offered: bool
) -> None:
    group = base64.encodebytes(element(0x30, number(2**2048 + 1), number(2))).decode()  # clients don't test for primes
    parameters = tmp_path / "group.pem"
    parameters.write_text(f"-----BEGIN DH PARAMETERS-----\n{group}-----END DH PARAMETERS-----\n")
    context = server(RIGHT_RSA, newest=ssl.TLSVersion.TLSv1_2)
    context.set_ciphers(f"{exchange}+AES")
    context.load_dh_params(str(parameters))
    _, outcome = await calls.call(context, TlsOptions(trusted_pem=pem(AUTHORITY)))
    assert isinstance(outcome, Delivered) == is_offered
    assert is_offered or (isinstance(outcome, Failed) and not outcome.may_have_arrived)


async def test_without_a_tls_1_3_alert_the_event_may_have_arrived(calls: Calls) -> None:
    _, outcome = await calls.call(server(RIGHT, AUTHORITY), TlsOptions(trusted_pem=pem(AUTHORITY)))
    assert isinstance(outcome, Failed)
    assert outcome.may_have_arrived


async def test_a_server_without_tls_gets_nothing(calls: Calls) -> None:
    async with Receiver() as plain:
        subscription = Subscription("s", 1, plain.url.replace("http:", "https:"), http=HttpLimits(0.2, 3))
        outcome = await calls.callback(subscription, PlainEvent("t", 0, 0, b"s", b"body"), 1)
        assert isinstance(outcome, Failed)
        assert not outcome.may_have_arrived
        assert plain.requests == []


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (TlsOptions(trusted_pem="hidden"), "ssl.trustStore: "),
        (TlsOptions(trusted_pem=""), "ssl.trustStore: "),
        (TlsOptions(client_certificate_pem="hidden", client_key_pem="hidden"), "ssl.keyStore: "),
        (TlsOptions(client_certificate_pem=CLIENT.cert_chain_pems[0].bytes().decode()), "ssl.keyStore: "),
    ],
)
async def test_unusable_tls_options_are_reported_as_an_outcome(calls: Calls, options: TlsOptions, problem: str) -> None:
    receiver, outcome = await calls.call(server(RIGHT), options)
    assert isinstance(outcome, Failed)
    assert outcome.error.startswith(problem)
    assert "hidden" not in outcome.error
    assert not outcome.may_have_arrived
    assert receiver.connections == 0


async def test_equal_tls_options_share_a_cached_context() -> None:
    contexts = TlsContexts(limit=2)
    first = await contexts.get(TlsOptions())
    assert await contexts.get(TlsOptions()) is first
    for options in (TlsOptions(trust_all=True), TlsOptions(verify_hostname=False)):
        assert await contexts.get(options) is not first
    assert await contexts.get(TlsOptions()) is not first


def test_verification_is_on_by_default() -> None:
    context = tls_context(TlsOptions())
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_an_encrypted_key_is_refused_without_a_terminal_prompt() -> None:
    key = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n"
    certificate = CLIENT.cert_chain_pems[0].bytes().decode()
    with pytest.raises(ConfigurationError, match=r"^ssl\.keyStore: "):
        tls_context(TlsOptions(client_certificate_pem=certificate, client_key_pem=key))


@pytest.mark.parametrize("answer_begun", [False, True])
async def test_an_alert_after_the_answer_has_begun_proves_nothing(answer_begun: bool) -> None:
    alert = ssl.SSLError(1, "alert")
    alert.reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    error = ClientOSError()
    error.__cause__ = alert
    async with loopback_transport(1, 1) as transport:
        where = await transport.destination(
            "https://h.example", tls=TlsOptions(), proxy=None, use_system_proxy=False, limits=HttpLimits(1, 1)
        )
    failed = not_answered(where, error, expired=False, answer_begun=answer_begun)
    assert failed.may_have_arrived is answer_begun
