"""Records that take time to read delay no other subscription, and records of one subscription keep their order."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from pipeline.config.definition import Definition
from pipeline.core.errors import ConfigurationError
from pipeline.core.subscription import Routing, Subscription
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.topics import Source
from pipeline.subscriptions.envelope import parse_subscription, to_document
from pipeline.subscriptions.record_reader import RecordReader
from pipeline.subscriptions.schema import WireSubscription
from pipeline.subscriptions.secrets import SecretBox
from tests.support.costly_stores import PASSWORD, hidden

KEYS = (Path(__file__).parents[2] / "keystores" / "keys.p12").read_bytes()
TOO_COSTLY = (
    "configuration.entrypointConfiguration.ssl.keyStore.content: takes more than 2 s of CPU time to open; "
    "allowed: 1000000 rounds of key derivation in all"
)
NO_STORE = "configuration.entrypointConfiguration.ssl.keyStore.content: is not a PKCS12 store, or its password is wrong"


class Reading:
    """A reader, and its reports: (id, revision); None as the revision if the subscription was deleted."""

    def __init__(self, kind: type[SecretBox] = SecretBox) -> None:
        definition = Definition("orders", Source(KafkaConnection(("k:9092",)), "events"), stated_routing=Routing.KEY)
        self.box = kind([Fernet.generate_key().decode()])
        self.reader = RecordReader(self.box, definition, self._note)
        self.told: list[tuple[str, int | None]] = []
        self.newest: dict[str, Subscription | None] = {}
        self.problems: list[str] = []

    def _note(
        self, subscription_id: str, _revision: int, _value: bytes | None, subscription: Subscription | None
    ) -> None:
        self.told.append((subscription_id, None if subscription is None else subscription.revision))
        self.newest[subscription_id] = subscription
        if subscription is not None and subscription.problem is not None:
            self.problems.append(subscription.problem)


@pytest.fixture
async def reading() -> AsyncIterator[Reading]:
    reading = Reading()
    yield reading
    await reading.reader.close()


def document(name: str, store: bytes | None = None) -> dict[str, Any]:
    configuration: dict[str, Any] = {"callbackUrl": "https://example.com"}
    if store is not None:
        content = base64.b64encode(store).decode()
        configuration["ssl"] = {"keyStore": {"type": "PKCS12", "content": content, "password": PASSWORD}}
    return {"id": name, "configuration": configuration}


def record(name: str, store: bytes | None = None) -> bytes:
    return json.dumps(document(name, store)).encode()


async def test_a_record_without_a_key_store_is_read_at_once(reading: Reading) -> None:
    reading.reader.take("a", record("a"), 0)
    reading.reader.take("a", None, 1)
    assert reading.told == [("a", 0), ("a", None)]


@pytest.mark.parametrize("escaped", [False, True])
async def test_a_secret_with_escaped_characters_is_decrypted(reading: Reading, *, escaped: bool) -> None:
    headers = [{"name": "Authorization", "value": "Basic c2VjcmV0"}]
    plain = document("a")
    plain["configuration"]["headers"] = headers
    value = json.dumps(to_document(reading.box.encrypt_secrets(parse_subscription(plain)))).encode()
    assert b"c2VjcmV0" not in value
    reading.reader.take("a", value.replace(b"enc:", rb"\u0065nc:") if escaped else value, 0)
    found = reading.newest["a"]
    assert found is not None
    assert [header.value for header in found.headers] == ["Basic c2VjcmV0"]


async def test_a_costly_store_affects_only_its_own_revision(reading: Reading) -> None:
    reading.reader.take("a", record("a", hidden(2**31 - 1)), 0)
    reading.reader.take("b", record("b"), 1)
    assert reading.told == [("b", 1)], "record b is read while the store of record a is being opened"
    assert reading.reader.waits_below(1)
    assert not reading.reader.waits_below(0)
    reading.reader.take("a", record("a"), 2)
    reading.reader.take("c", record("c", KEYS), 3)
    await reading.reader.parsed()
    assert reading.told == [("b", 1), ("a", 0), ("a", 2), ("c", 3)]
    assert not reading.reader.waits_below(4)
    assert {name: found and found.problem for name, found in reading.newest.items()} == dict.fromkeys("abc")
    assert reading.problems == [TOO_COSTLY]
    reading.reader.take("a", None, 4)
    assert reading.told[-1] == ("a", None)


async def test_a_deletion_waits_for_the_stores_of_earlier_records(reading: Reading) -> None:
    reading.reader.take("a", record("a", KEYS), 0)
    reading.reader.take("a", None, 1)
    await reading.reader.parsed()
    assert reading.told == [("a", 0), ("a", None)]


async def test_edits_and_records_get_the_same_error_about_a_store(reading: Reading) -> None:
    reading.reader.take("a", record("a", b"no store"), 0)
    await reading.reader.parsed()
    with pytest.raises(ConfigurationError) as caught:
        await reading.reader.resolve(parse_subscription(document("a", b"no store")))
    assert caught.value.problems == reading.problems == [NO_STORE]


class Panic(BaseException):
    """The error of a panic in a Rust library. Like pyo3's, it is not an Exception."""


class PanickingBox(SecretBox):
    """A box that panics for one subscription."""

    def decrypt_secrets(self, subscription: WireSubscription) -> WireSubscription:
        if subscription.id == "bad":
            raise Panic("called `Option::unwrap()` on a `None` value")
        return super().decrypt_secrets(subscription)


@pytest.mark.parametrize("store", [None, KEYS], ids=["at once", "in the thread"])
async def test_a_panic_on_one_record_affects_no_other_record(
    store: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    reading = Reading(PanickingBox)
    for revision, name in enumerate(["good", "bad", "better"]):
        value = json.dumps(document(name, store) | {"metadata": {"note": "enc:"}}).encode()
        reading.reader.take(name, value, revision)
    await reading.reader.parsed()
    await reading.reader.close()
    problems = [found and found.problem for found in reading.newest.values()]
    assert problems == [None, "internal error: Panic", None]
    assert "subscription bad, revision 1, can't be read" in caplog.text


async def test_closing_discards_records_that_wait_for_stores(
    reading: Reading, caplog: pytest.LogCaptureFixture
) -> None:
    reading.reader.take("a", record("a", hidden(2**31 - 1)), 0)
    reading.reader.take("b", record("b", KEYS), 1)
    await reading.reader.close()
    await reading.reader.parsed()
    assert reading.told == []
    assert caplog.records == []
