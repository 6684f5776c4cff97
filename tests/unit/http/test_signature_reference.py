"""The reference library of Standard Webhooks verifies the requests, as a receiver would do."""

import base64
import json
from contextlib import AsyncExitStack

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from standardwebhooks import Webhook, WebhookVerificationError

from pipeline.core.clock import SystemClock
from pipeline.core.model import PlainEvent
from pipeline.core.outcome import Delivered
from pipeline.core.subscription import Subscription
from pipeline.http.webhook import Callback
from tests.support.calling import loopback_transport
from tests.support.receiver import Receiver, Request

SEED = bytes(range(32))
FIRST, SECOND, OTHER = ("whsec_" + base64.b64encode(letter * 32).decode() for letter in (b"a", b"b", b"c"))
ASYMMETRIC = "whsk_" + base64.b64encode(SEED).decode()
BODY = json.dumps({"order": 1, "name": "Käse"}, ensure_ascii=False).encode()
HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")


async def received(*secrets: str, body: bytes = BODY, attempt: int = 1) -> Request:
    """The request that a receiver gets from a subscription with these secrets."""
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(Receiver())
        transport = await stack.enter_async_context(loopback_transport(1))
        callback = Callback(transport, SystemClock(), user_agent="test/1", on_header_left_out=lambda _id, _name: None)
        subscription = Subscription("s", 1, receiver.url, signing_secrets=secrets)
        assert await callback(subscription, PlainEvent("events", 3, 41, b"s", body), attempt) == Delivered(200)
        return receiver.requests[0]


def headers_of(request: Request) -> dict[str, str]:
    return {name: request.header(name) or "" for name in HEADERS}


@pytest.mark.parametrize("body", [BODY, b"{}", b'"' + b"x" * 100_000 + b'"'])
async def test_the_reference_library_verifies_a_sent_request(body: bytes) -> None:
    request = await received(FIRST, body=body)
    assert Webhook(FIRST).verify(request.body, headers_of(request)) == json.loads(body)
    assert request.header("webhook-id") == "events-3-41"


async def test_during_a_rotation_old_and_new_secrets_verify() -> None:
    request = await received(SECOND, FIRST, ASYMMETRIC)
    for secret in (FIRST, SECOND):
        Webhook(secret).verify(request.body, headers_of(request))
    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER).verify(request.body, headers_of(request))


@pytest.mark.parametrize("name", HEADERS)
async def test_any_change_of_a_request_is_detected(name: str) -> None:
    request = await received(FIRST)
    headers = headers_of(request)
    changed = {"webhook-id": "events-3-42", "webhook-timestamp": str(int(headers["webhook-timestamp"]) - 1)}
    headers[name] = changed.get(name, f"v1,{base64.b64encode(b'x' * 32).decode()}")
    with pytest.raises(WebhookVerificationError):
        Webhook(FIRST).verify(request.body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(FIRST).verify(request.body + b" ", headers_of(request))


async def test_an_ed25519_signature_verifies_as_specified() -> None:
    # The library supports only v1. The signed content is the same.
    request = await received(ASYMMETRIC)
    headers = headers_of(request)
    version, _, signature = headers["webhook-signature"].partition(",")
    assert version == "v1a"
    public = Ed25519PrivateKey.from_private_bytes(SEED).public_key()
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + request.body
    public.verify(base64.b64decode(signature), content)
    with pytest.raises(InvalidSignature):
        public.verify(base64.b64decode(signature), content + b" ")


async def test_without_secrets_nothing_is_signed() -> None:
    request = await received()
    assert (request.header("webhook-signature"), request.header("webhook-timestamp")) == (None, None)
