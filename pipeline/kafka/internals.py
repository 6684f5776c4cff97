"""Every patch and every private name of aiokafka that the pipeline uses, except for the record parser (records.py).

aiokafka has no public way to do these things. The docstring of each patch says what happens without it. The patches
that would fail silently are listed in PATCHES, which a worker checks before it starts. tests/meta/test_canary.py pins
the names.

    AdminClient                     makes admin requests succeed while a broker is down, and on a new cluster
    started                         closes the connections of a client whose start is cancelled
    closed                          closes a client without swallowing a cancellation
    disconnect                      closes a client in time, even if its broker does not answer
    keep_lease                      renews the lease with each confirmed heartbeat
    pace_fetches                    waits for a moment before each fetch
    BeginSoon                       begins a transaction soon after the previous one has ended
    retrieve_errors                 keeps the errors of a fenced or refused producer out of the log
    client_of, coordinator_of, ...  return state that aiokafka's objects hide
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import (
    ConcurrentTransactions,
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NodeNotReadyError,
    NoError,
    NotCoordinatorForGroupError,
    RebalanceInProgressError,
    for_code,
)
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
COORDINATOR_SECONDS: Final = 10.0
COORDINATOR_PAUSE_SECONDS: Final = 0.1

_NO_COORDINATOR_YET: Final = (GroupCoordinatorNotAvailableError, GroupLoadInProgressError, NotCoordinatorForGroupError)


# ----------------------------------------------------------- administration


class AdminClient(AIOKafkaAdminClient):  # type: ignore[misc]  # aiokafka has no types
    """aiokafka's client asks one broker at random and gives up if that one is down.

    This client asks the other brokers too, and waits for a coordinator. Without it, a worker could not start while one
    of several brokers is down. Nor could it start on a new cluster: there, the first request for a coordinator makes
    Kafka create the topic in which it stores groups, and fails.
    """

    async def list_consumer_group_offsets(self, *arguments: Any, **options: Any) -> Any:
        """See aiokafka's client; waits for the group's coordinator."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(COORDINATOR_SECONDS):
                while True:
                    with contextlib.suppress(*_NO_COORDINATOR_YET):
                        return await super().list_consumer_group_offsets(*arguments, **options)
                    await asyncio.sleep(COORDINATOR_PAUSE_SECONDS)
        return await super().list_consumer_group_offsets(*arguments, **options)

    async def ask(self, request: Any) -> Any:
        """The answer from any broker to a request for which aiokafka's client has no method."""
        return await self._send_request(request)

    async def _send_request(self, request: Any, node_id: int | None = None) -> Any:
        if node_id is not None:
            return await super()._send_request(request, node_id)
        # These brokers come from the client's metadata, so some of them may be down.
        brokers = [broker.nodeId for broker in self._client.cluster.brokers()]
        random.shuffle(brokers)
        for number in brokers[:-1]:
            try:
                return await super()._send_request(request, number)
            except NodeNotReadyError:
                logger.debug("broker %d did not answer; asking the next one", number)
        return await super()._send_request(request, brokers[-1] if brokers else None)


# ----------------------------------------------------------- the beginning and the end of a client


async def started(client: Any) -> None:
    """Start a producer or a consumer. A cancellation does not interrupt the start, which would leak a connection."""
    await _finished(client.start())


async def closed(client: Any) -> None:
    """Close a client or an admin client, to the end even when cancelled.

    The method `close` of aiokafka swallows a cancellation that arrives while it waits for its own task. A task with a
    loop would then continue, and the stop of the worker would wait for it indefinitely.
    """
    await _finished(client.close())


async def _finished(work: Coroutine[Any, Any, object]) -> None:
    """Run *work* to its end, even if this task is cancelled in the meantime."""
    running = asyncio.ensure_future(work)
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.gather(running, return_exceptions=True)
        raise


async def start_or_disconnect(client: Any) -> None:
    """Start a producer or a consumer. If the start fails or is cancelled, disconnect."""
    try:
        await client.start()
    except BaseException:
        await disconnect(client)
        raise


async def disconnect(client: Any, seconds: float = STOP_SECONDS) -> None:
    """Stop an aiokafka producer or consumer. Records that are not confirmed within *seconds* stay unconfirmed.

    aiokafka's producer waits in `stop()` until all its records are confirmed. Without a broker it waits indefinitely,
    so a worker would not stop. The consumer's `stop()` may raise the CancelledError of a fetch, which the caller would
    mistake for its own cancellation.
    """
    stopping = asyncio.ensure_future(client.stop())
    try:
        await asyncio.wait([stopping], timeout=seconds)
    finally:
        if stopping.cancel():
            logger.warning("closing a Kafka client without waiting for its unresponsive broker")
        elif not stopping.cancelled() and stopping.exception() is not None:
            logger.warning("closing a Kafka client failed: %r", stopping.exception())
        # These are the last steps of `client.stop()`. If `stop` is cancelled or fails, it skips them.
        if hasattr(client, "_sender"):
            await _end_sender(client)
            retrieve_errors(client)
        await closed(client_of(client))


async def _end_sender(producer: Any) -> None:
    sending = producer._sender and producer._sender.sender_task  # noqa: SLF001 - otherwise only confirmations end it
    if sending is None or sending.done():
        return
    producer._message_accumulator.fail_all(BrokerError("the broker did not answer in time"))  # noqa: SLF001 - as above
    while not sending.done():
        sending.cancel()  # each time, this cancels one of the requests that `stop` waits for
        await asyncio.wait([sending], timeout=CANCEL_SECONDS)


# ----------------------------------------------------------- heartbeats


def keep_lease_of(consumer: AIOKafkaConsumer, lease: Lease) -> None:
    """Renew *lease* with each confirmation by the consumer's group coordinator. Does nothing without a group."""
    coordinator = coordinator_of(consumer)
    if isinstance(coordinator, GroupCoordinator):
        keep_lease(coordinator, lease)


def keep_lease(coordinator: Any, lease: Lease) -> None:
    """Renew *lease* with each confirmed heartbeat or sync. The lease counts from the moment when the request was sent.

    aiokafka has no hook for confirmed heartbeats. Without this function the lease (core/lease.py) ends, and nothing is
    sent any more.
    """
    send = coordinator._send_req  # noqa: SLF001 - sends every request to the group

    async def send_and_renew(request: Any) -> Any:
        sent_at = lease.now()
        response = await send(request)
        if isinstance(request, HeartbeatRequest | SyncGroupRequest):
            error = for_code(response.error_code)
            # A group that is about to rebalance waits for its members, which keep their partitions until they rejoin.
            if error is NoError or (error is RebalanceInProgressError and isinstance(request, HeartbeatRequest)):
                lease.renew(sent_at)
        return response

    coordinator._send_req = send_and_renew  # noqa: SLF001 - as above


# ----------------------------------------------------------- fetches


def pace_fetches(consumer: AIOKafkaConsumer, pause_seconds: Callable[[], float]) -> None:
    """Send each fetch only after *pause_seconds*. Call this when the consumer has started.

    aiokafka sends the next fetch as soon as the consumer has returned the records, and has no option to wait. At a low
    steady rate, each fetch would return only a few events, and fetches would be most of the cost.
    """
    fetcher = consumer._fetcher  # noqa: SLF001 - see above
    send = fetcher._proc_fetch_request  # noqa: SLF001 - see above

    async def pause_and_send(assignment: Any, node_id: int, request: Any) -> bool:
        if (seconds := pause_seconds()) > 0:
            try:
                await asyncio.sleep(seconds)
            except asyncio.CancelledError:  # aiokafka also ignores an error of this result
                return False
        return bool(await send(assignment, node_id, request))

    fetcher._proc_fetch_request = pause_and_send  # noqa: SLF001 - see above


# ----------------------------------------------------------- transactions


class BeginSoon(sender.AddPartitionsToTxnHandler):  # type: ignore[misc]  # aiokafka has no types
    """Begins a transaction.

    While the coordinator is still ending the previous one, this class tries again: soon, then less often. Ending a
    transaction usually takes a few milliseconds, and longer while a broker is down. aiokafka always waits for 20 ms,
    and has no option to change this. These 20 ms would be most of the time of an at-most-once claim.
    """

    def handle_response(self, resp: Any) -> float | None:
        """The seconds to wait before trying again; None if the transaction has begun."""
        pause: float | None = super().handle_response(resp)
        if pause != sender.BACKOFF_OVERRIDE:
            self._sender.marker_pause = MARKER_PAUSE_SECONDS
            return pause
        soon: float = getattr(self._sender, "marker_pause", MARKER_PAUSE_SECONDS)
        self._sender.marker_pause = min(2 * soon, LONGEST_MARKER_PAUSE_SECONDS)
        return soon


sender.AddPartitionsToTxnHandler = BeginSoon


def retrieve_errors(producer: Any) -> None:
    """Retrieve the errors in aiokafka's own futures, because asyncio would log each one as never retrieved.

    There is one future for the end of a transaction, and one for each batch that is sent. Callers get the same errors
    from the futures of their records. Call this before a transaction is aborted, because the abort replaces the first
    future.
    """
    transactions, batches = producer._txn_manager, producer._message_accumulator._batches  # noqa: SLF001 - see above
    waiters = [batch._drain_waiter for queue in batches.values() for batch in queue]  # noqa: SLF001 - as above
    if transactions is not None:
        waiters.append(transactions.wait_for_transaction_end())
    for waiter in waiters:
        if waiter is not None and waiter.done() and not waiter.cancelled():
            waiter.exception()


def is_broken(producer: AIOKafkaProducer) -> bool:
    """Whether an earlier error keeps a producer from beginning another transaction.

    The producer must not be in a transaction.

    aiokafka has no public name for this. Without this check, a partition's rows would be written again and again.
    """
    transactions = producer._txn_manager  # noqa: SLF001 - see above
    return transactions is not None and transactions.state is not TransactionState.READY


def transaction_state(producer: AIOKafkaProducer) -> str:
    """The state of a producer's transaction, for logs: for example `COMMITTING_TRANSACTION, 0 unsent batches`."""
    transactions, batches = producer._txn_manager, producer._message_accumulator._batches  # noqa: SLF001 - as above
    state = "no transaction" if transactions is None else transactions.state.name
    return f"{state}, {sum(map(len, batches.values()))} unsent batches"


# ----------------------------------------------------------- the state of clients


def client_of(owner: Any) -> AIOKafkaClient:
    """The network client of a producer, a consumer or an admin client."""
    return owner.client if hasattr(owner, "client") else owner._client  # noqa: SLF001 - see above


def coordinator_of(consumer: AIOKafkaConsumer) -> Any:
    """The object that keeps a consumer's membership in its group; None before it starts."""
    return consumer._coordinator  # noqa: SLF001 - only it knows the metadata of commits, and can rejoin


def has_ended(coordinator: GroupCoordinator) -> bool:
    """Whether the coordinator has stopped taking part in the group."""
    return bool(coordinator._coordination_task.done())  # noqa: SLF001 - there is no public way to tell


def has_error(coordinator: GroupCoordinator) -> bool:
    """Whether the coordinator holds an error of the group, which `check_errors` will raise."""
    return coordinator._pending_exception is not None  # noqa: SLF001 - `check_errors` clears the error that it raises


def positions(consumer: AIOKafkaConsumer, topic: str) -> dict[int, int]:
    """The offset at which the next fetch of each partition of a topic begins."""
    subscription = consumer._subscription.subscription  # noqa: SLF001 - the public way is a coroutine
    assignment = None if subscription is None else subscription.assignment
    if assignment is None:
        return {}
    states = {tp.partition: assignment.state_value(tp) for tp in assignment.tps if tp.topic == topic}
    return {number: state.position for number, state in states.items() if state.has_valid_position}


def set_fetch(consumer: AIOKafkaConsumer, *, wait_ms: int, isolation_level: str) -> None:
    """Set how long a broker may hold an empty fetch, and the isolation level.

    Call this before the consumer starts. A consumer has arguments for both, but Faust, which creates the consumer, does
    not pass them. Without them a busy partition starves others, and events of aborted transactions are delivered.
    """
    consumer._fetch_max_wait_ms = wait_ms  # noqa: SLF001 - see above
    consumer._isolation_level = isolation_level  # noqa: SLF001 - see above


# ----------------------------------------------------------- whether the patches took effect


def _renews_lease() -> bool:
    """Whether a heartbeat of aiokafka that is confirmed at once renews a lease."""
    coordinator = GroupCoordinator.__new__(GroupCoordinator)
    coordinator.group_id, coordinator.generation, coordinator.member_id = "", 0, ""
    lease = Lease(LEASE_PROBE_SECONDS)

    async def confirm(_request: HeartbeatRequest) -> SimpleNamespace:
        return SimpleNamespace(error_code=NoError.errno)

    coordinator._send_req = confirm  # noqa: SLF001 - see `keep_lease`
    keep_lease(coordinator, lease)
    with contextlib.suppress(StopIteration):
        coordinator._do_heartbeat().send(None)  # noqa: SLF001 - called by the heartbeat task; here it never suspends
    return lease.is_held


def _begins_soon() -> bool:
    """Whether the patch makes aiokafka retry soon while the coordinator still ends the last transaction."""
    transactions = SimpleNamespace(txn_partitions=set())
    handler = sender.AddPartitionsToTxnHandler(SimpleNamespace(_retry_backoff=1.0, _txn_manager=transactions), [])
    answer = SimpleNamespace(errors=[("", [(0, ConcurrentTransactions.errno)])])
    return bool(handler.handle_response(answer) == MARKER_PAUSE_SECONDS)


_LEASE: Final = "no lease is renewed and nothing is delivered"
_CLAIMS: Final = "each at-most-once claim takes 20 ms"

PATCHES: Final = (
    Patch("aiokafka", "GroupCoordinator._send_req", _LEASE, _renews_lease),
    Patch(
        "aiokafka",
        "GroupCoordinator._send_req",
        _LEASE,
        looks_up("aiokafka.consumer.group_coordinator:CoordinatorGroupRebalance._send_sync_group_request", "_send_req"),
    ),
    Patch(
        "aiokafka",
        "Fetcher._proc_fetch_request",
        "deliveries at a low, steady rate take twice the CPU time",
        looks_up("aiokafka.consumer.fetcher:Fetcher._fetch_requests_routine", "_proc_fetch_request"),
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
