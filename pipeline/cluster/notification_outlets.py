"""Sends notifications to the topic `<app>.events` and to the operator's webhook. Deliveries never wait for them.

Each outlet has its own bounded queue, so that an outlet that is down does not delay the other. Notifications that do
not fit are dropped, counted and logged.
"""

import asyncio
import logging
import random
import secrets
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, Protocol

from aiokafka.errors import KafkaError

from pipeline.cluster.notifications import CONTENT_TYPE, Notification, cloud_event
from pipeline.config.settings import Settings
from pipeline.core.clock import Clock, steady_now
from pipeline.core.errors import BrokerError
from pipeline.core.model import Event, PlainEvent
from pipeline.core.outcome import Outcome, describe
from pipeline.core.policy import Retry, Rules, Settle, decide
from pipeline.core.subscription import Interrupt, Qos, RetryPolicy, Subscription
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.late_producer import LateProducer
from pipeline.kafka.topics import events_topic, producer_for

logger = logging.getLogger(__name__)

MOST_WAITING: Final = 1_000
WRITE_SECONDS: Final = 10.0
PAUSE_SECONDS: Final = 30.0
"""The pause after a failed write to the topic."""
RETRY: Final = RetryPolicy(
    max_attempts=100, initial_delay_seconds=5.0, max_delay_seconds=300.0, max_elapsed_seconds=6 * 3600.0
)
"""The retries of the webhook. If the webhook does not accept a notification within six hours, only the topic has it."""
RULES: Final = Rules(Qos.AT_LEAST_ONCE, RETRY, Interrupt(), has_dead_letters=False)
HEADERS: Final = (("content-type", CONTENT_TYPE.encode()),)

OnDropped = Callable[[str, int, str], None]
"""Arguments: name of the outlet, how many notifications it dropped, and why."""


class Sink(Protocol):
    """Sends notifications, one at a time."""

    name: str

    async def send(self, notification: Notification, attempt: int, waited: float) -> "float | str | None":
        """Send a notification. Returns None if it was sent, the seconds until the next attempt, or why it is dropped.

        Args:
            notification: the notification to send.
            attempt: the number of the attempt, from 1.
            waited: seconds since the first attempt.
        """

    async def close(self) -> None:
        """Disconnect."""


class Outlet:
    """A sink with its queue.

    Args:
        sink: sends the notifications, one after another.
        on_dropped: called for dropped notifications.
    """

    def __init__(self, sink: Sink, clock: Clock, on_dropped: OnDropped) -> None:
        self._sink = sink
        self._clock = clock
        self._on_dropped = on_dropped
        self._waiting: deque[Notification] = deque()
        self._under_way = 0  # the notification that is being sent, until it is sent or dropped
        self._arrived = asyncio.Event()

    def put(self, notification: Notification) -> None:
        """Queue a notification. If the queue is full, the oldest notification is dropped."""
        if len(self._waiting) >= MOST_WAITING:
            self._waiting.popleft()
            self._on_dropped(self._sink.name, 1, f"more than {MOST_WAITING} are waiting")
        self._waiting.append(notification)
        self._arrived.set()

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            await self._arrived.wait()
            while self._waiting:
                self._under_way = 1
                try:
                    await self._send(self._waiting.popleft())
                except Exception as error:  # an error here must not end the worker
                    logger.exception("a notification could not be sent to %s", self._sink.name)
                    self._on_dropped(self._sink.name, 1, repr(error))
                self._under_way = 0
            self._arrived.clear()

    async def _send(self, notification: Notification) -> None:
        began, attempt = steady_now(), 1
        while isinstance(ended := await self._sink.send(notification, attempt, steady_now() - began), float):
            await self._clock.sleep(ended)
            attempt += 1
        if ended is not None:
            self._on_dropped(self._sink.name, 1, ended)

    async def close(self) -> None:
        """Disconnect. Notifications that were not sent are dropped."""
        left = self._under_way + len(self._waiting)
        if left:
            self._on_dropped(self._sink.name, left, "the worker is stopping")
            self._waiting.clear()
        await self._sink.close()


class Outlets:
    """All outlets of a worker."""

    def __init__(self, sinks: Sequence[Sink], clock: Clock, on_dropped: OnDropped) -> None:
        self._outlets = [Outlet(sink, clock, on_dropped) for sink in sinks]

    def put(self, notification: Notification) -> None:
        """Queue a notification for each outlet. Does not wait."""
        for outlet in self._outlets:
            outlet.put(notification)

    async def run(self) -> None:
        """Send until cancelled."""
        await asyncio.gather(*(outlet.run() for outlet in self._outlets))

    async def close(self) -> None:
        """Disconnect."""
        for outlet in self._outlets:
            await outlet.close()


class TopicSink:
    """Writes notifications to `<app>.events`, keyed by subject.

    Args:
        topic: `<app>.events`.
        source: the worker, as the `source` of the CloudEvents.
        on_dropped: called with 0 and the reason if the topic can't be written. The write is then tried again.
    """

    def __init__(self, connection: KafkaConnection, topic: str, source: str, on_dropped: OnDropped) -> None:
        self.name = topic
        self._source = source
        self._on_dropped = on_dropped
        self._producer = LateProducer(partial(producer_for, connection, topic))

    async def send(self, notification: Notification, attempt: int, waited: float) -> float | str | None:  # noqa: ARG002 - retried until the queue is full
        """See `Sink`."""
        value = cloud_event(notification, self._source)
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                producer = await self._producer.started()
                key, at = notification.subject.encode(), int(notification.at * 1000)
                await producer.send_and_wait(self.name, value, key=key, headers=[*HEADERS], timestamp_ms=at)
        except (KafkaError, OSError, BrokerError) as error:  # a TimeoutError is an OSError
            self._on_dropped(self.name, 0, str(error) or repr(error))
            await self.close()
            return PAUSE_SECONDS
        return None

    async def close(self) -> None:
        """Disconnect."""
        await self._producer.close()


class SendWebhook(Protocol):
    """One attempt over HTTP (http/webhook.py)."""

    def __call__(self, subscription: Subscription, event: Event, attempt: int) -> Awaitable[Outcome]:
        """Make the attempt; returns its outcome."""


class WebhookSink:
    """Delivers notifications to the operator's webhook as signed requests, guarded and retried.

    Args:
        call: makes one attempt.
        signing_secret: a secret of Standard Webhooks; None for no signature.
        source: the worker, as the `source` of the CloudEvents.
    """

    def __init__(self, call: SendWebhook, url: str, signing_secret: str | None, source: str) -> None:
        self.name = "webhook"
        self._call = call
        self._source = source
        keys = () if signing_secret is None else (signing_secret,)
        self._subscription = Subscription("notifications", 0, url, retry=RETRY, signing_secrets=keys)
        # These are parts of the webhook-id. It must differ from the ids of events and of other workers' notifications.
        self._record = PlainEvent(f"notifications-{secrets.token_hex(8)}", 0, 0, None, None, HEADERS)
        self._count = 0

    async def send(self, notification: Notification, attempt: int, waited: float) -> float | str | None:
        """See `Sink`."""
        self._count += attempt == 1
        record = replace(
            self._record,
            offset=self._count,
            key=notification.subject.encode(),
            value=cloud_event(notification, self._source),
            timestamp=int(notification.at * 1000),
        )
        outcome = await self._call(self._subscription, record, attempt)
        decision = decide(RULES, attempt, outcome, elapsed_seconds=waited, chance=random.random())  # noqa: S311 - jitter
        match decision:
            case Settle():
                return None
            case Retry(after_seconds):
                return max(1.0, after_seconds)
            case _:
                return f"attempt {attempt}: {describe(outcome)}"

    async def close(self) -> None:
        """Does nothing: the transport's owner closes it."""


def outlets_of(
    settings: Settings, connection: KafkaConnection, call: SendWebhook, on_dropped: OnDropped, clock: Clock
) -> Outlets:
    """Make the outlets that the settings configure.

    Args:
        settings: the settings of the worker.
        connection: connects to the cluster of the source topics.
        call: makes one attempt over HTTP.
        on_dropped: see `Outlet`.
        clock: times the pauses between attempts.
    """
    source = f"/{settings.app}/{socket.gethostname()}:{settings.web_port}"
    sinks: list[Sink] = [TopicSink(connection, events_topic(settings.app), source, on_dropped)]
    url, secret = settings.notify_url, settings.notify_signing_secret
    if url is not None:
        key = None if secret is None else secret.get_secret_value()
        sinks.append(WebhookSink(call, url.get_secret_value(), key, source))
    return Outlets(sinks, clock, on_dropped)
