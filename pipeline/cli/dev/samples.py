"""Makes four subscriptions with different filters, and sends an order or a payment of a customer each second."""

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

HEALTHY: Final = "everything"
REJECTED: Final = "payments"
PICKY: Final = "orders-from-japan"
DOWN: Final = "customer-7"
INTERVAL_SECONDS: Final = 1.0
RETRY: Final = {"retryOption": "Retry On Fail", "maxAttempts": 3, "initialDelaySeconds": 1, "maxDelaySeconds": 5}
TYPES: Final = ("order.placed", "payment.received")
COUNTRIES: Final = ("japan", "peru", "ghana")
CUSTOMERS: Final = ("customer-5", "customer-6", "customer-7", "customer-8", "customer-9")


def sample_subscriptions(receiver: str, nobody: str) -> list[dict[str, Any]]:
    """The subscriptions, as documents for `webhooks subscriptions apply`.

    Args:
        receiver: `host:port` of the receiver.
        nobody: `host:port` where no program listens.
    """
    return [
        _subscription(HEALTHY, receiver, None),
        _subscription(REJECTED, receiver, {"prefix": {"type": "payment."}}),
        _subscription(PICKY, receiver, {"exact": {"type": "order.placed", "/country": "japan"}}),
        _subscription(DOWN, nobody, {"exact": {"key": DOWN}}),
    ]


def _subscription(name: str, address: str, wanted: dict[str, Any] | None) -> dict[str, Any]:
    options = {"callbackUrl": f"http://{address}/hook", "retry": RETRY, "filter": wanted}
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
        places = zip(*map(itertools.cycle, (TYPES, COUNTRIES, CUSTOMERS)), strict=True)
        for number, (kind, country, customer) in enumerate(places, 1):
            if self.should_stop or self._producer is None:
                return
            value = json.dumps({"number": number, "country": country, "at": round(time.time(), 3)}).encode()
            headers = [("ce_type", kind.encode())]
            await self._producer.send_and_wait(SOURCE, value, customer.encode(), headers=headers)
            await self.sleep(INTERVAL_SECONDS)
