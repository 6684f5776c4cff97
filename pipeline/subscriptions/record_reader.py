"""Turns records into subscriptions, in order, and opens key stores off the event loop.

A record without key stores is read at once. A record with key stores waits for a thread. The thread opens one store
after another, in a separate process (config/keystores/process.py). Meanwhile the records of other subscriptions are
read. Later records of the same subscription wait, so that no older revision replaces a newer one.
"""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from pipeline.config.definition import Definition
from pipeline.config.keystores.process import StoreProcess
from pipeline.core.errors import ConfigurationError
from pipeline.core.subscription import Subscription
from pipeline.subscriptions.envelope import parse_stored
from pipeline.subscriptions.fields import ENCRYPTED
from pipeline.subscriptions.resolve import broken, has_stores, to_subscription
from pipeline.subscriptions.schema import WireSubscription
from pipeline.subscriptions.secrets import SecretBox

logger = logging.getLogger(__name__)

Part = TypeVar("Part")

OnRead = Callable[[str, int, bytes | None, Subscription | None], None]
"""Arguments: id, revision, value of the record, subscription. The last two are None if the record deletes it."""


class RecordReader:
    """Reads the records of a cluster's subscriptions.

    Args:
        box: decrypts the secrets.
        definition: the API definition, which defines the defaults of fields that subscriptions leave out.
        on_read: called for every record, in log order for each subscription; must not raise.
    """

    def __init__(self, box: SecretBox, definition: Definition, on_read: OnRead) -> None:
        self._box = box
        self._definition = definition
        self._on_read = on_read
        self._opener = StoreProcess()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="key-stores")
        # The records that wait, by revision, in the order in which the thread handles them.
        self._waiting: dict[int, asyncio.Future[Subscription | None]] = {}
        self._waiting_of: Counter[str] = Counter()
        self._is_closed = False

    def take(self, subscription_id: str, value: bytes | None, revision: int) -> None:
        """Read a record, at once or when its stores are open.

        Args:
            subscription_id: the key of the record.
            value: the value of the record; None deletes the subscription.
            revision: the offset of the record.
        """
        parsed = self._parse(subscription_id, value, revision)
        is_slow = isinstance(parsed, WireSubscription) and has_stores(parsed)
        if not is_slow and subscription_id not in self._waiting_of:
            self._on_read(subscription_id, revision, value, self._read(subscription_id, value, parsed, revision))
            return
        loop = asyncio.get_running_loop()
        reading = loop.run_in_executor(self._thread, self._read, subscription_id, value, parsed, revision)
        self._waiting[revision] = reading
        self._waiting_of[subscription_id] += 1
        reading.add_done_callback(partial(self._finish, subscription_id, value, revision))

    def waits_below(self, revision: int) -> bool:
        """Whether a record before *revision* is still waiting for its stores."""
        return self.waits_from(revision) < revision

    def waits_from(self, revision: int) -> int:
        """The revision of the first record that is still waiting for its stores; *revision* if there is none."""
        return next(iter(self._waiting), revision)

    async def parsed(self) -> None:
        """Return when all records taken so far have been parsed, or when the reader is closed."""
        waiting = list(self._waiting.values())
        if waiting:
            await asyncio.wait(waiting)

    async def resolve(self, subscription: WireSubscription) -> Subscription:
        """The subscription that a record would become if it were written; its revision is 0.

        Raises:
            ConfigurationError: a value can't be used; names the field, never a secret.
        """
        if not has_stores(subscription):
            return self._resolve(subscription, 0)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._resolve, subscription, 0)

    async def close(self) -> None:
        """Stop. Records that are still waiting will not be read."""
        self._is_closed = True
        for reading in list(self._waiting.values()):
            reading.cancel()
        await asyncio.to_thread(self._opener.close)
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)

    def _finish(
        self, subscription_id: str, value: bytes | None, revision: int, reading: "asyncio.Future[Subscription | None]"
    ) -> None:
        del self._waiting[revision]
        self._waiting_of[subscription_id] -= 1
        if not self._waiting_of[subscription_id]:
            del self._waiting_of[subscription_id]
        if not reading.cancelled():
            self._on_read(subscription_id, revision, value, reading.result())

    def _parse(
        self, subscription_id: str, value: bytes | None, revision: int
    ) -> WireSubscription | Subscription | None:
        if value is None:
            return None
        return self._guarded(subscription_id, value, revision, partial(parse_record, subscription_id, value))

    def _read(
        self, subscription_id: str, value: bytes | None, parsed: WireSubscription | Subscription | None, revision: int
    ) -> Subscription | None:
        if not isinstance(parsed, WireSubscription):
            return parsed

        def opened() -> Subscription:
            # Most records have no secrets, and a search of the text costs less than a visit of all fields.
            subscription = self._box.decrypt_secrets(parsed) if value is None or may_be_encrypted(value) else parsed
            return self._resolve(subscription, revision)

        return self._guarded(subscription_id, value, revision, opened)

    def _guarded(
        self, subscription_id: str, value: bytes | None, revision: int, read: Callable[[], Part]
    ) -> Part | Subscription:
        """The result of *read*, or a broken subscription if the record can't be read."""
        try:
            return read()
        except ConfigurationError as error:
            problem = "; ".join(error.problems)
            if not self._is_closed:
                logger.warning("subscription %s, revision %d, can't be used: %s", subscription_id, revision, problem)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            # A bug, here or in a library. One record must not stop the reading of later ones. A panic in Rust
            # (cryptography, pydantic) is a BaseException.
            problem = f"internal error: {type(error).__name__}"
            logger.exception("subscription %s, revision %d, can't be read", subscription_id, revision)
        return broken(subscription_id, self._definition, revision, problem, _object(value))

    def _resolve(self, subscription: WireSubscription, revision: int) -> Subscription:
        return to_subscription(subscription, self._definition, revision, self._opener)


def parse_record(subscription_id: str, value: bytes) -> WireSubscription:
    """Parse a record; its secrets stay encrypted.

    Raises:
        ConfigurationError: the record is not a subscription, or has an id that differs from the record's key.
    """
    try:
        document = json.loads(value)
    except (ValueError, RecursionError):
        raise ConfigurationError("the record is not JSON") from None
    subscription = parse_stored(document)
    if subscription.id != subscription_id:
        raise ConfigurationError(f"id: {subscription.id!r} is not the key of the record, {subscription_id!r}")
    return subscription


def may_be_encrypted(value: bytes) -> bool:
    """Whether a record may contain encrypted secrets: it has their prefix, or an escape that may hide it."""
    return ENCRYPTED.encode() in value or b"\\u" in value


def _object(value: bytes | None) -> Mapping[str, object]:
    """The record as an object; empty if the record is not an object."""
    try:
        document = json.loads(value or b"")
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
