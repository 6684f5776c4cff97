"""Every patch of aiokafka, and every private name of it, except for its parser (records.py).

aiokafka has no public way to do these things. Each one says what happens without it. What would fail in silence is in
PATCHES, which a worker checks before it starts; tests/meta/test_canary.py pins the names.

    AdminClient                     a broker that is down does not end an administrator's request
    disconnect                      a client ends in time although its broker does not answer
    keep_lease                      a confirmed heartbeat renews the lease
    BeginSoon                       a transaction begins soon after the last one has ended
    client_of, coordinator_of, ...  what aiokafka's objects know and do not tell
"""

import asyncio
import contextlib
import logging
import random
from types import SimpleNamespace
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import ConcurrentTransactions, NodeNotReadyError, NoError, RebalanceInProgressError, for_code
from aiokafka.producer import sender
from aiokafka.producer.transaction_manager import TransactionState
from aiokafka.protocol.group import HeartbeatRequest, SyncGroupRequest

from pipeline.core.errors import BrokerError
from pipeline.core.lease import Lease
from pipeline.core.patches import Patch, looks_up
from pipeline.kafka.records import AIOKafkaConsumer

logger = logging.getLogger(__name__)

STOP_SECONDS: Final = 3.0
CANCEL_SECONDS: Final = 0.2
MARKER_PAUSE_SECONDS: Final = 0.003
LONGEST_MARKER_PAUSE_SECONDS: Final = 0.1
LEASE_PROBE_SECONDS: Final = 60.0


# ----------------------------------------------------------- administration


class AdminClient(AIOKafkaAdminClient):  # type: ignore[misc]  # aiokafka has no types
    """aiokafka's client asks one broker at random and gives up if that one is down. This client asks the others too.

    Without it a worker could not start while one of several brokers is down.
    """

    async def ask(self, request: Any) -> Any:
        """The answer of any broker to a request for which aiokafka's client has no method."""
        return await self._send_request(request)

    async def _send_request(self, request: Any, node_id: int | None = None) -> Any:
        if node_id is not None:
            return await super()._send_request(request, node_id)
        # Known at least as long as the client: a broker that is down may be among them.
        brokers = [broker.nodeId for broker in self._client.cluster.brokers()]
        random.shuffle(brokers)
        for number in brokers[:-1]:
            try:
                return await super()._send_request(request, number)
            except NodeNotReadyError:
                logger.debug("broker %d did not answer; asking the next one", number)
        return await super()._send_request(request, brokers[-1] if brokers else None)


# ----------------------------------------------------------- the end of a client


async def disconnect(client: Any, seconds: float = STOP_SECONDS) -> None:
    """Stop an aiokafka producer or consumer; what is not confirmed after so many seconds stays unconfirmed.

    aiokafka's producer waits at its end until what is under way has been confirmed: without a broker it waits
    indefinitely, and a worker that was told to stop would wait with it. Its consumer lets the cancellation of a fetch
    out that has just failed, and the caller would take that for a cancellation of its own.
    """
    stopping = asyncio.ensure_future(client.stop())
    try:
        await asyncio.wait([stopping], timeout=seconds)
    finally:
        if stopping.cancel():
            logger.warning("closing a Kafka client without waiting for its unresponsive broker")
        elif not stopping.cancelled() and stopping.exception() is not None:
            logger.warning("closing a Kafka client failed: %r", stopping.exception())
        # What follows is what `stop` does last, and does not come to when it is cut off or fails.
        if hasattr(client, "_sender"):
            await _end_sender(client)
        await client_of(client).close()


async def _end_sender(producer: Any) -> None:
    sending = producer._sender and producer._sender.sender_task  # noqa: SLF001 - it has no other end than a confirmation
    if sending is None or sending.done():
        return
    producer._message_accumulator.fail_all(BrokerError("the broker did not answer in time"))  # noqa: SLF001 - likewise
    while not sending.done():
        sending.cancel()  # and with each turn one of the requests that it waits for
        await asyncio.wait([sending], timeout=CANCEL_SECONDS)


# ----------------------------------------------------------- heartbeats


def keep_lease_of(consumer: AIOKafkaConsumer, lease: Lease) -> None:
    """Renew *lease* by what the coordinator of the consumer's group confirms; a consumer in no group has none."""
    coordinator = coordinator_of(consumer)
    if isinstance(coordinator, GroupCoordinator):
        keep_lease(coordinator, lease)


def keep_lease(coordinator: Any, lease: Lease) -> None:
    """Renew *lease* by what a coordinator of aiokafka confirms, as of the moment at which the request was sent.

    aiokafka has no hook for it. Without it the lease (core/lease.py) ends, and nothing is sent any more.
    """
    send = coordinator._send_req  # noqa: SLF001 - every request to the group goes by here

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


# ----------------------------------------------------------- transactions


class BeginSoon(sender.AddPartitionsToTxnHandler):  # type: ignore[misc]  # aiokafka has no types
    """Begins a transaction, and tries again while the coordinator still ends the last one: soon, then less often.

    That takes it a few milliseconds as a rule, and longer while a broker is away. aiokafka waits for 20 each time, most
    of the time that a claim takes at at-most-once; it has no option for it.
    """

    def handle_response(self, resp: Any) -> float | None:
        """As aiokafka's: how long to wait before it is tried again, None if it need not be."""
        pause: float | None = super().handle_response(resp)
        is_still_ending = pause == sender.BACKOFF_OVERRIDE
        tries = getattr(self._sender, "marker_tries", 0) if is_still_ending else 0
        self._sender.marker_tries = tries + is_still_ending
        return min(MARKER_PAUSE_SECONDS * float(2**tries), LONGEST_MARKER_PAUSE_SECONDS) if is_still_ending else pause


sender.AddPartitionsToTxnHandler = BeginSoon


def is_broken(producer: AIOKafkaProducer) -> bool:
    """Whether a producer between two transactions can begin no other one, whatever error brought it there.

    aiokafka shows it nowhere. Without it the rows of a partition would be tried again and again.
    """
    transactions = producer._txn_manager  # noqa: SLF001 - see above
    return transactions is not None and transactions.state is not TransactionState.READY


# ----------------------------------------------------------- what clients know


def client_of(owner: Any) -> AIOKafkaClient:
    """The connections of a producer, a consumer or an administrator; consumers and administrators hide them."""
    return owner.client if hasattr(owner, "client") else owner._client  # noqa: SLF001 - see above


def coordinator_of(consumer: AIOKafkaConsumer) -> Any:
    """What a consumer keeps its membership in the group with; None before it starts."""
    return consumer._coordinator  # noqa: SLF001 - only it tells the metadata of commits, and can join again


def has_ended(coordinator: GroupCoordinator) -> bool:
    """Whether the coordinator does nothing for the group any more."""
    return bool(coordinator._coordination_task.done())  # noqa: SLF001 - aiokafka tells nowhere else


def has_error(coordinator: GroupCoordinator) -> bool:
    """Whether the group has refused something; the coordinator keeps it until `check_errors` raises it."""
    return coordinator._pending_exception is not None  # noqa: SLF001 - `check_errors` forgets what it tells


def positions(consumer: AIOKafkaConsumer, topic: str) -> dict[int, int]:
    """Where the next fetch of each partition of a topic begins; nothing moves it but a fetch."""
    subscription = consumer._subscription.subscription  # noqa: SLF001 - aiokafka tells only by a coroutine
    assignment = None if subscription is None else subscription.assignment
    if assignment is None:
        return {}
    states = {place.partition: assignment.state_value(place) for place in assignment.tps if place.topic == topic}
    return {number: state.position for number, state in states.items() if state.has_valid_position}


def set_fetch(consumer: AIOKafkaConsumer, *, wait_ms: int, isolation_level: str) -> None:
    """Set how long a broker may keep an empty fetch, and what may be read; before the consumer starts.

    Both are arguments of the consumer, but Faust makes it and passes neither on. Without them a busy partition starves
    others, and events of aborted transactions are delivered.
    """
    consumer._fetch_max_wait_ms = wait_ms  # noqa: SLF001 - see above
    consumer._isolation_level = isolation_level  # noqa: SLF001 - see above


# ----------------------------------------------------------- whether they took


def _renews_lease() -> bool:
    """Have aiokafka send a heartbeat that is confirmed at once."""
    coordinator = GroupCoordinator.__new__(GroupCoordinator)
    coordinator.group_id, coordinator.generation, coordinator.member_id = "", 0, ""
    lease = Lease(LEASE_PROBE_SECONDS)

    async def confirm(_request: HeartbeatRequest) -> SimpleNamespace:
        return SimpleNamespace(error_code=NoError.errno)

    coordinator._send_req = confirm  # noqa: SLF001 - see `keep_lease`
    keep_lease(coordinator, lease)
    with contextlib.suppress(StopIteration):
        coordinator._do_heartbeat().send(None)  # noqa: SLF001 - what the heartbeat's task calls; here it waits for nothing
    return lease.is_held


def _begins_soon() -> bool:
    """Tell aiokafka that the coordinator still ends the last transaction."""
    transactions = SimpleNamespace(txn_partitions=set())
    handler = sender.AddPartitionsToTxnHandler(SimpleNamespace(_retry_backoff=1.0, _txn_manager=transactions), [])
    answer = SimpleNamespace(errors=[("", [(0, ConcurrentTransactions.errno)])])
    return bool(handler.handle_response(answer) == MARKER_PAUSE_SECONDS)


_LEASE: Final = "no lease is renewed and nothing is delivered"
_CLAIMS: Final = "each claim at at-most-once takes 20 ms"

PATCHES: Final = (
    Patch("aiokafka", "GroupCoordinator._send_req", _LEASE, _renews_lease),
    Patch(
        "aiokafka",
        "GroupCoordinator._send_req",
        _LEASE,
        looks_up("aiokafka.consumer.group_coordinator:CoordinatorGroupRebalance._send_sync_group_request", "_send_req"),
    ),
    Patch("aiokafka", "AddPartitionsToTxnHandler", _CLAIMS, _begins_soon),
    Patch(
        "aiokafka",
        "AddPartitionsToTxnHandler",
        _CLAIMS,
        looks_up("aiokafka.producer.sender:Sender._do_add_partitions_to_txn", "AddPartitionsToTxnHandler"),
    ),
    Patch(
        "aiokafka",
        "AIOKafkaAdminClient._send_request",
        "a worker does not start while one of several brokers is down",
        looks_up("aiokafka.admin:AIOKafkaAdminClient._get_cluster_metadata", "_send_request"),
    ),
    Patch(
        "aiokafka",
        "AIOKafkaConsumer._fetch_max_wait_ms",
        "a busy partition starves the others",
        looks_up("aiokafka:AIOKafkaConsumer.start", "_fetch_max_wait_ms"),
    ),
    Patch(
        "aiokafka",
        "AIOKafkaConsumer._isolation_level",
        "events of aborted transactions are delivered",
        looks_up("aiokafka:AIOKafkaConsumer.start", "_isolation_level"),
    ),
    Patch(
        "aiokafka",
        "AIOKafkaProducer._sender",
        "a worker does not stop while its broker is gone",
        looks_up("aiokafka:AIOKafkaProducer.stop", "_sender", "_message_accumulator"),
    ),
)
