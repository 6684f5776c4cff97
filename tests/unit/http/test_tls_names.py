"""Verification of certificates with real servers: names, dates, chains, versions; and which connections are shared."""

import datetime as dt
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pipeline.core.clock import SystemClock
from pipeline.core.model import PlainEvent
from pipeline.core.outcome import Delivered, Failed, Outcome
from pipeline.core.subscription import HttpLimits, Subscription, TlsOptions
from pipeline.http.webhook import Callback
from tests.support.calling import loopback_transport
from tests.support.names import Names
from tests.support.receiver import HOST, Receiver

AUTHORITY: Final = trustme.CA()
INTERMEDIATE: Final = AUTHORITY.create_child_ca()
WEEK: Final = dt.timedelta(days=7)
NOW: Final = dt.datetime.now(dt.UTC)
NAMES: Final = ("receiver.example", "a.wild.example", "wild.example", "a.b.wild.example", "receiver.example.")


def trusting(*certificates: bytes) -> TlsOptions:
    return TlsOptions(trusted_pem=b"".join(certificates).decode())


TRUSTED: Final = trusting(AUTHORITY.cert_pem.bytes())


@dataclass(frozen=True, slots=True)
class Pem:
    """A certificate with its chain and its key."""

    chain: bytes
    key: bytes


def issued(*names: str, by: trustme.CA = AUTHORITY, whole: bool = True, **options: dt.datetime) -> Pem:
    """A certificate for *names*. If *whole*, the chain is included."""
    certificate = by.issue_cert(*names, **options)  # type: ignore[arg-type]  # the options are the dates
    blobs = certificate.cert_chain_pems if whole else certificate.cert_chain_pems[:1]
    return Pem(b"".join(blob.bytes() for blob in blobs), certificate.private_key_pem.bytes())


def made(common_name: str, *names: x509.GeneralName, by: trustme.CA | None = None) -> Pem:
    """A certificate that no authority would issue today: with any names or none, by default self-signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    signing_key = key
    if by is not None:
        issuer = x509.load_pem_x509_certificate(by.cert_pem.bytes()).subject
        loaded = serialization.load_pem_private_key(by.private_key_pem.bytes(), None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        signing_key = loaded
    builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(NOW - WEEK).not_valid_after(NOW + WEEK)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.sign(signing_key, hashes.SHA256())
    return Pem(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


@dataclass
class Bench:
    """Calls receivers with TLS, by one of `NAMES` or by address.

    Attributes:
        indications: the names that clients sent (SNI); None without a name.
    """

    stack: AsyncExitStack
    callback: Callback
    folder: Path
    indications: list[str | None] = field(default_factory=list)

    def server(self, pem: Pem) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        file = self.folder / "server.pem"
        file.write_bytes(pem.key + pem.chain)
        context.load_cert_chain(file)
        context.sni_callback = lambda _socket, name, _context: self.indications.append(name)
        return context

    async def receiver(self, tls: ssl.SSLContext) -> Receiver:
        return await self.stack.enter_async_context(Receiver(tls=tls))

    async def call(self, receiver: Receiver, options: TlsOptions, host: str = HOST) -> Outcome:
        url = f"https://{host}:{receiver.port}/"
        # Another subscription, so that only the transport has state of the previous call.
        called = Subscription(repr(options), 1, url, tls=options, http=HttpLimits(5.0, 5.0))
        return await self.callback(called, PlainEvent("t", 0, 0, b"s", b"body"), 1)

    async def refused(self, pem: Pem, options: TlsOptions, host: str = HOST) -> str:
        """Why the certificate is not trusted. Fails if anything was sent."""
        receiver = await self.receiver(self.server(pem))
        outcome = await self.call(receiver, options, host)
        assert isinstance(outcome, Failed)
        assert not outcome.may_have_arrived
        assert receiver.requests == []
        assert outcome.error.startswith(f"the certificate of {host}:{receiver.port} is not trusted: ")
        return outcome.error

    async def accepted(self, pem: Pem, options: TlsOptions, host: str = HOST) -> None:
        receiver = await self.receiver(self.server(pem))
        assert await self.call(receiver, options, host) == Delivered(200)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        resolver = Names(**{name: [HOST] for name in NAMES})
        transport = await stack.enter_async_context(loopback_transport(4, resolver=lambda: resolver))
        callback = Callback(transport, SystemClock(), user_agent="t/1", on_header_left_out=lambda _id, _name: None)
        yield Bench(stack, callback, tmp_path)


# Names


@pytest.mark.parametrize(
    ("names", "host"),
    [
        (["receiver.example"], "receiver.example"),
        (["other.example", "receiver.example"], "receiver.example"),
        (["receiver.example"], "receiver.example."),
        (["*.wild.example"], "a.wild.example"),
        ([HOST], HOST),
    ],
)
async def test_a_certificate_for_the_host_is_accepted(bench: Bench, names: list[str], host: str) -> None:
    await bench.accepted(issued(*names), TRUSTED, host)


@pytest.mark.parametrize(
    ("pem", "host", "why"),
    [
        (issued("other.example"), "receiver.example", "Hostname mismatch"),
        (issued("*.wild.example"), "wild.example", "Hostname mismatch"),
        (issued("*.wild.example"), "a.b.wild.example", "Hostname mismatch"),
        (issued("receiver.example"), HOST, "IP address mismatch"),
        (issued("127.0.0.2"), HOST, "IP address mismatch"),
        (made(HOST, x509.DNSName(HOST), by=AUTHORITY), HOST, "IP address mismatch"),
        (made("receiver.example", by=AUTHORITY), "receiver.example", "Hostname mismatch"),
        (made(HOST, by=AUTHORITY), HOST, "IP address mismatch"),
    ],
    ids=[
        *("other", "wildcard-itself", "wildcard-two-levels", "name-for-address", "other-address"),
        *("address-as-name", "only-common-name", "address-in-common-name"),
    ],
)
async def test_a_certificate_for_another_host_fails_the_name_check(bench: Bench, pem: Pem, host: str, why: str) -> None:
    assert why in await bench.refused(pem, TRUSTED, host)
    await bench.accepted(pem, replace(TRUSTED, verify_hostname=False), host)


@pytest.mark.parametrize(
    ("host", "indicated"),
    [("receiver.example", "receiver.example"), ("receiver.example.", "receiver.example"), (HOST, None)],
)
@pytest.mark.parametrize("options", [TRUSTED, TlsOptions(trust_all=True)], ids=["verified", "trust-all"])
async def test_the_host_is_sent_as_sni_if_it_is_a_name(
    bench: Bench, host: str, indicated: str | None, options: TlsOptions
) -> None:
    await bench.accepted(issued("receiver.example", HOST), options, host)
    assert bench.indications == [indicated]


# Dates, chains, authorities


async def test_a_certificate_is_refused_before_and_after_its_time(bench: Bench) -> None:
    late = issued(HOST, not_before=NOW - 2 * WEEK, not_after=NOW - WEEK)
    early = issued(HOST, not_before=NOW + WEEK, not_after=NOW + 2 * WEEK)
    assert "certificate has expired" in await bench.refused(late, TRUSTED)
    assert "certificate is not yet valid" in await bench.refused(early, TRUSTED)
    assert "certificate is not yet valid" in await bench.refused(early, trusting(early.chain))


async def test_a_self_signed_certificate_has_to_be_in_the_trust_store(bench: Bench) -> None:
    own = made("receiver", x509.IPAddress(ip_address(HOST)))
    assert "self-signed certificate" in await bench.refused(own, TlsOptions())
    assert "self-signed certificate" in await bench.refused(own, TRUSTED)
    await bench.accepted(own, trusting(own.chain))
    await bench.accepted(own, trusting(AUTHORITY.cert_pem.bytes(), own.chain))


async def test_an_intermediate_may_come_from_server_or_trust_store(bench: Bench) -> None:
    whole, bare = issued(HOST, by=INTERMEDIATE), issued(HOST, by=INTERMEDIATE, whole=False)
    await bench.accepted(whole, TRUSTED)
    assert "unable to get local issuer certificate" in await bench.refused(bare, TRUSTED)
    await bench.accepted(bare, trusting(AUTHORITY.cert_pem.bytes(), INTERMEDIATE.cert_pem.bytes()))


async def test_a_certificate_can_be_trusted_without_its_root(bench: Bench) -> None:
    whole, other = issued(HOST, by=INTERMEDIATE), issued(HOST, by=INTERMEDIATE)
    await bench.accepted(whole, trusting(INTERMEDIATE.cert_pem.bytes()))
    pinned = trusting(x509.load_pem_x509_certificate(whole.chain).public_bytes(serialization.Encoding.PEM))
    await bench.accepted(whole, pinned)
    assert "unable to get" in await bench.refused(other, pinned)


async def test_a_receiver_s_certificate_can_not_sign_others(bench: Bench) -> None:
    leaf = issued(HOST)
    key = serialization.load_pem_private_key(leaf.key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    forger = trustme.CA.from_pem(leaf.chain, leaf.key)
    assert "is not trusted" in await bench.refused(issued(HOST, by=forger), TRUSTED)


# Versions and protocols


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
async def test_tls_before_1_2_is_refused_even_if_all_is_trusted(bench: Bench, version: ssl.TLSVersion) -> None:
    tls = bench.server(issued(HOST))
    with pytest.warns(DeprecationWarning, match="is deprecated"):
        tls.minimum_version = tls.maximum_version = version
    tls.set_ciphers("DEFAULT@SECLEVEL=0")
    receiver = await bench.receiver(tls)
    for options in (TRUSTED, TlsOptions(trust_all=True)):
        outcome = await bench.call(receiver, options)
        assert isinstance(outcome, Failed)
        assert not outcome.may_have_arrived
        assert outcome.error == f"{HOST}:{receiver.port} closed the connection during the TLS handshake"
    assert receiver.requests == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_1_2_and_1_3_are_spoken(bench: Bench, version: ssl.TLSVersion) -> None:
    tls = bench.server(issued(HOST))
    tls.minimum_version = tls.maximum_version = version
    assert await bench.call(await bench.receiver(tls), TRUSTED) == Delivered(200)


@pytest.mark.parametrize("offered", [["h2", "http/1.1"], ["http/1.1"], ["h2"]])
async def test_http_1_1_is_negotiated_with_any_server(bench: Bench, offered: list[str]) -> None:
    tls = bench.server(issued(HOST))
    tls.set_alpn_protocols(offered)
    assert await bench.call(await bench.receiver(tls), TRUSTED) == Delivered(200)


# Which connections are shared


async def test_verified_requests_use_no_unverified_connection(bench: Bench) -> None:
    receiver = await bench.receiver(bench.server(issued("elsewhere.example")))
    lax = (TlsOptions(trust_all=True), replace(TRUSTED, verify_hostname=False))
    for options in lax:
        assert await bench.call(receiver, options) == Delivered(200)
    assert receiver.open_connections == 2
    for strict in (TlsOptions(), TRUSTED):
        outcome = await bench.call(receiver, strict)
        assert isinstance(outcome, Failed)
        assert "is not trusted" in outcome.error
    assert len(receiver.requests) == 2


async def test_only_equal_client_certificates_share_a_connection(bench: Bench) -> None:
    tls = bench.server(issued(HOST))
    tls.verify_mode = ssl.CERT_OPTIONAL
    AUTHORITY.configure_trust(tls)
    receiver = await bench.receiver(tls)
    shown = [issued("one@client.example"), issued("two@client.example")]
    options = [
        TRUSTED,
        *(
            replace(TRUSTED, client_certificate_pem=pem.chain.decode(), client_key_pem=pem.key.decode())
            for pem in shown
        ),
    ]
    for _ in range(2):
        for each in options:
            assert await bench.call(receiver, each) == Delivered(200)
    assert [request.connection for request in receiver.requests] == [1, 2, 3, 1, 2, 3]
