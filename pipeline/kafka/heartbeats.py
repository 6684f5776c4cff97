"""Hears of the heartbeats that the group's coordinator confirms, for the lease (core/lease.py)."""

from typing import Any

from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import NoError, RebalanceInProgressError, for_code
from aiokafka.protocol.group import HeartbeatRequest, SyncGroupRequest

from pipeline.core.lease import Lease
from pipeline.kafka.records import AIOKafkaConsumer


def keep_lease_of(consumer: AIOKafkaConsumer, lease: Lease) -> None:
    """Renew *lease* by what the coordinator of the consumer's group confirms; a consumer in no group has none."""
    coordinator: Any = consumer._coordinator  # noqa: SLF001 - aiokafka tells nowhere else
    if isinstance(coordinator, GroupCoordinator):
        keep_lease(coordinator, lease)


def keep_lease(coordinator: Any, lease: Lease) -> None:
    """Renew *lease* by what a coordinator of aiokafka confirms, as of the moment at which the request was sent."""
    send = coordinator._send_req  # noqa: SLF001 - aiokafka has no hook for it

    async def send_and_renew(request: Any) -> Any:
        sent_at = lease.now()
        response = await send(request)
        if isinstance(request, HeartbeatRequest | SyncGroupRequest):
            error = for_code(response.error_code)
            # A group that is about to rebalance waits for its members: until they join again they keep what they have.
            if error is NoError or (error is RebalanceInProgressError and isinstance(request, HeartbeatRequest)):
                lease.renew(sent_at)
        return response

    coordinator._send_req = send_and_renew  # noqa: SLF001 - likewise
