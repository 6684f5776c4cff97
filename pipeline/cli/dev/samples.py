"""Three subscriptions (one healthy, one rejecting, one down), and about one event a second for them in turn."""

import itertools
import json
import time
from collections.abc import Sequence
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from mode import Service

from pipeline.cli.dev.project import SOURCE, Project
from pipeline.kafka.internals import disconnect
from pipeline.subscriptions.session import opened_store

HEALTHY: Final = "sub-1"
REJECTED: Final = "sub-2"
DOWN: Final = "sub-3"
INTERVAL_SECONDS: Final = 1.0
RETRY: Final = {"retryOption": "Retry On Fail", "maxAttempts": 3, "initialDelaySeconds": 1, "maxDelaySeconds": 5}


def sample_subscriptions(receiver: str, nobody: str) -> list[dict[str, Any]]:
    """The three subscriptions, as `webhooks subscriptions apply` takes them.

    Args:
        receiver: `host:port` of the receiver.
        nobody: `host:port` where no program listens.
    """
    return [_subscription(HEALTHY, receiver), _subscription(REJECTED, receiver), _subscription(DOWN, nobody)]


def _subscription(name: str, address: str) -> dict[str, Any]:
    options = {"callbackUrl": f"http://{address}/hook", "retry": RETRY}
    return {
        "id": name,
        "configuration": {"entrypointId": "webhook-advanced", "entrypointConfiguration": options},
    }


class Samples(Service):
    """Applies the subscriptions when it starts, then sends events until it stops.

    Args:
        project: the application whose broker gets subscriptions and events.
        subscriptions: see `sample_subscriptions`.
    """

    def __init__(self, project: Project, subscriptions: Sequence[dict[str, Any]], **options: Any) -> None:
        super().__init__(**options)
        self._project = project
        self._subscriptions = subscriptions
        self._producer: AIOKafkaProducer | None = None

    async def on_start(self) -> None:
        """Apply the subscriptions, and connect."""
        async with opened_store(self._project.settings, self._project.definition) as store:
            for subscription in self._subscriptions:
                await store.apply(subscription)
        self._producer = AIOKafkaProducer(acks="all", **self._project.definition.source.connection.client_options())
        await self._producer.start()

    async def on_stop(self) -> None:
        """Disconnect."""
        if self._producer is not None:
            await disconnect(self._producer)

    @Service.task
    async def _trickle(self) -> None:
        names = itertools.cycle(subscription["id"] for subscription in self._subscriptions)
        for number, name in enumerate(names, 1):
            if self.should_stop or self._producer is None:
                return
            value = json.dumps({"order": number, "at": round(time.time(), 3)}).encode()
            await self._producer.send_and_wait(SOURCE, value, name.encode())
            await self.sleep(INTERVAL_SECONDS)
