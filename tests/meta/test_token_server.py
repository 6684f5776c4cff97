"""Access tokens by assertion: from the document of a subscription to the call with a token, over real TLS."""

import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from pipeline.auth.authorization import Authorized
from pipeline.auth.token_cache import TokenCache
from pipeline.auth.token_endpoint import ClientCredentials
from pipeline.auth.token_request import PostForm
from pipeline.config.definition import Definition
from pipeline.config.keystores.opening import OpenHere
from pipeline.core.clock import SystemClock
from pipeline.core.model import PlainEvent
from pipeline.core.outcome import Delivered, Outcome, TokenRefused, TokenUnavailable
from pipeline.core.subscription import Routing, Subscription
from pipeline.http.webhook import Callback
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.topics import Source
from pipeline.subscriptions.envelope import parse_subscription
from pipeline.subscriptions.resolve import to_subscription
from tests.support.calling import loopback_transport
from tests.support.receiver import Receiver, answer
from tests.support.token_server import Client, TokenServer
from tests.support.tokens import MemoryStore, Tally

AUDIENCE = "https://id.example/token"
DEFINITION = Definition(
    "orders", Source(KafkaConnection(("never.invalid:9092",)), "events"), stated_routing=Routing.KEY
)
AUTHORITY = trustme.CA()
SERVER = AUTHORITY.issue_cert("127.0.0.1")
CLIENT = AUTHORITY.issue_cert("client@example.com")
KEY = rsa.generate_private_key(65537, 2048)
INLINE = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
SECRET = "a secret that is long enough for the longest of the three digests"
STORE = (Path(__file__).parents[1] / "keystores" / "two-keys.p12").read_bytes()


def pem(*blobs: trustme.Blob) -> str:
    return "".join(blob.bytes().decode() for blob in blobs)


def tls(*, asks: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    SERVER.configure_cert(context)
    if asks:
        context.verify_mode = ssl.CERT_REQUIRED
        AUTHORITY.configure_trust(context)
    return context


TRUSTING = {"trustStore": {"type": "PEM", "content": pem(AUTHORITY.cert_pem)}}
SHOWING = {
    **TRUSTING,
    "keyStore": {
        "type": "PEM",
        "certContent": pem(*CLIENT.cert_chain_pems),
        "keyContent": pem(CLIENT.private_key_pem),
    },
}


@dataclass
class Bench:
    """The parts of a worker between an event and its receiver. All are real except the rows of tokens."""

    stack: AsyncExitStack
    send: Authorized
    receiver: Receiver
    tally: Tally = field(default_factory=Tally)

    async def endpoint(self, server: TokenServer, *, asks: bool = False) -> Receiver:
        return await self.stack.enter_async_context(Receiver(server, tls=tls(asks=asks)))

    def subscription(self, endpoint: Receiver, options: dict[str, Any] = TRUSTING, **profile: Any) -> Subscription:
        block = {"issuer": "client-1", "subject": "client-1", "audience": AUDIENCE, "endpoint": endpoint.url, **profile}
        auth = {"type": "jwtProfileOauth2", "jwtProfileOauth2": block}
        document = {"id": "s", "configuration": {"callbackUrl": self.receiver.url, "auth": auth, "ssl": options}}
        return to_subscription(parse_subscription(document), DEFINITION, 1, OpenHere())

    async def deliver(self, subscription: Subscription, *, renew: bool = False) -> Outcome:
        return await self.send(subscription, PlainEvent("t", 0, 0, b"s", b"body"), 1, renew_token=renew)

    @property
    def authorizations(self) -> list[str | None]:
        return [request.header("authorization") for request in self.receiver.requests]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        transport = await stack.enter_async_context(loopback_transport(4, 9))
        clock, tally = SystemClock(), Tally()
        tokens = TokenCache(ClientCredentials(PostForm(transport, "t/1"), clock), MemoryStore(), clock, tally)
        stack.push_async_callback(tokens.close)
        callback = Callback(transport, clock, user_agent="t/1", on_header_left_out=lambda _id, _name: None)
        receiver = await stack.enter_async_context(Receiver(answer(200)))
        yield Bench(stack, Authorized(callback, tokens), receiver, tally)


@pytest.mark.parametrize("algorithm", ["RS256", "HS256", "HS384", "HS512"])
async def test_an_event_is_sent_with_the_token_got_for_an_assertion(bench: Bench, algorithm: str) -> None:
    is_rsa = algorithm == "RS256"
    server = TokenServer({"client-1": Client(algorithm, KEY.public_key() if is_rsa else SECRET)})
    signing: dict[str, Any] = {} if is_rsa else {"signatureAlgorithm": f"HMAC_{algorithm}"}
    endpoint = await bench.endpoint(server)
    subscription = bench.subscription(
        endpoint, keyContent=INLINE if is_rsa else SECRET, scopes=["hooks", "more"], **signing
    )
    assert [await bench.deliver(subscription) for _ in range(3)] == [Delivered(200)] * 3
    assert bench.authorizations == ["Bearer token-1"] * 3
    assert server.scopes == ["hooks more"]


async def test_each_assertion_is_new_unless_its_id_is_fixed(bench: Bench) -> None:
    server = TokenServer({"client-1": Client("RS256", KEY.public_key())})
    endpoint = await bench.endpoint(server)
    subscription = bench.subscription(endpoint, keyContent=INLINE)
    await bench.deliver(subscription)
    bench.send.tokens.reject(subscription, "Bearer token-1")
    assert await bench.deliver(subscription, renew=True) == Delivered(200)
    assert bench.authorizations == ["Bearer token-1", "Bearer token-2"]

    fixed = bench.subscription(endpoint, keyContent=INLINE, jwtId="the-same")
    assert await bench.deliver(fixed) == Delivered(200)
    bench.send.tokens.reject(fixed, "Bearer token-3")
    refused = await bench.deliver(fixed, renew=True)
    assert isinstance(refused, TokenRefused)
    assert refused.error.startswith("invalid_client: the assertion was used before (HTTP 401 from ")


async def test_the_token_server_trusts_the_chain_of_a_key_store(bench: Bench) -> None:
    certificates = [entry.certificate for entry in pkcs12.load_pkcs12(STORE, b"store-secret").additional_certs]
    [authority] = [each for each in certificates if each.subject.rfc4514_string() == "CN=ca"]
    endpoint = await bench.endpoint(TokenServer({"client-1": Client("RS256", authority=authority)}))
    store: dict[str, Any] = {
        "keySource": "PKCS12",
        "keyContent": base64.b64encode(STORE).decode(),
        "keystoreOptions": {"alias": "Signer", "storePassword": "store-secret"},
    }
    with_chain = bench.subscription(endpoint, x509CertChain="X5C", **store)
    assert await bench.deliver(with_chain) == Delivered(200)
    without = await bench.deliver(bench.subscription(endpoint, **store))
    assert isinstance(without, TokenRefused)
    assert without.error.startswith("invalid_client: the chain does not end at the authority")


async def test_with_a_wrong_key_neither_token_nor_event_is_sent(bench: Bench) -> None:
    another = rsa.generate_private_key(65537, 2048).public_key()
    endpoint = await bench.endpoint(TokenServer({"client-1": Client("RS256", another)}))
    refused = await bench.deliver(bench.subscription(endpoint, keyContent=INLINE))
    assert isinstance(refused, TokenRefused)
    assert refused.error.startswith("invalid_client: Signature verification failed (HTTP 401 from 127.0.0.1")
    assert bench.receiver.requests == []
    assert bench.tally.results == {"refused": 1}


async def test_a_token_endpoint_with_a_wrong_certificate_gets_nothing(bench: Bench) -> None:
    endpoint = await bench.endpoint(TokenServer({"client-1": Client("RS256", KEY.public_key())}))
    outcome = await bench.deliver(bench.subscription(endpoint, {}, keyContent=INLINE))
    assert isinstance(outcome, TokenUnavailable)
    assert f"the certificate of 127.0.0.1:{endpoint.port} is not trusted" in outcome.error
    assert endpoint.requests == []
    assert bench.receiver.requests == []


async def test_the_token_endpoint_gets_the_client_certificate(bench: Bench) -> None:
    endpoint = await bench.endpoint(TokenServer({"client-1": Client("RS256", KEY.public_key())}), asks=True)
    missing = await bench.deliver(bench.subscription(endpoint, keyContent=INLINE))
    assert isinstance(missing, TokenUnavailable)
    shown = bench.subscription(endpoint, SHOWING, keyContent=INLINE, keyId="another-client")
    assert await bench.deliver(shown) == Delivered(200)


def test_the_key_store_of_the_tests_does_not_expire_soon() -> None:
    opened = pkcs12.load_pkcs12(STORE, b"store-secret")
    certificates: list[x509.Certificate] = [entry.certificate for entry in opened.additional_certs]
    assert all(certificate.not_valid_after_utc.year > 2100 for certificate in certificates)
