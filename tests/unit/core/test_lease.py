"""The lease: when it is held, what renews it, and which waits a renewal ends."""

import asyncio
import threading
from typing import Any

import pytest
from aiokafka.errors import IllegalGenerationError, NoError, RebalanceInProgressError, UnknownMemberIdError
from aiokafka.protocol.commit import OffsetCommitResponse_v2
from aiokafka.protocol.group import (
    HeartbeatRequest,
    HeartbeatResponse_v0,
    LeaveGroupRequest,
    SyncGroupRequest,
    SyncGroupResponse_v0,
)

from pipeline.core.errors import LeaseEndedError
from pipeline.core.lease import Lease
from pipeline.kafka.internals import keep_lease

HEARTBEAT = HeartbeatRequest("group", 1, "member")
SYNC = SyncGroupRequest("group", 1, "member", "", [])


class Moment:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def moment() -> Moment:
    return Moment()


@pytest.fixture
def lease(moment: Moment) -> Lease:
    return Lease(14.0, moment)


def test_a_lease_is_held_until_the_last_heartbeat_is_too_old(lease: Lease, moment: Moment) -> None:
    assert not lease.is_held, "no heartbeat was confirmed yet"
    lease.renew(100.0)
    moment.now = 113.9
    lease.check()
    moment.now = 114.0
    assert not lease.is_held
    with pytest.raises(LeaseEndedError):
        lease.check()


def test_a_late_confirmation_does_not_shorten_the_lease(lease: Lease, moment: Moment) -> None:
    lease.renew(100.0)
    lease.renew(90.0)
    moment.now = 113.9
    assert lease.is_held


async def test_a_renewal_in_another_thread_wakes_waiting_tasks(lease: Lease, moment: Moment) -> None:
    sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    with lease.waking(sleeper):
        thread = threading.Thread(target=lease.renew, args=(moment.now,))
        thread.start()
        await sleeper
        thread.join()
    assert lease.is_held


async def test_a_renewal_that_came_before_the_wait_is_not_missed(lease: Lease, moment: Moment) -> None:
    lease.renew(moment.now)
    sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    with lease.waking(sleeper):
        await sleeper


# ------------------------------------------------------------------- what the coordinator confirms


class Coordinator:
    """Answers each request with *response*, after *seconds* on the lease's clock."""

    def __init__(self, moment: Moment, response: Any, seconds: float) -> None:
        self._moment = moment
        self._response = response
        self._seconds = seconds

    async def _send_req(self, _request: Any) -> Any:
        self._moment.now += self._seconds
        return self._response


async def renews(lease: Lease, moment: Moment, request: Any, response: Any, seconds: float = 0.1) -> bool:
    """Whether the lease is held after the request was answered."""
    coordinator = Coordinator(moment, response, seconds)
    keep_lease(coordinator, lease)
    assert await coordinator._send_req(request) is response
    return lease.is_held


@pytest.mark.parametrize("error", [NoError, RebalanceInProgressError])
async def test_a_heartbeat_of_a_member_renews_the_lease(lease: Lease, moment: Moment, error: Any) -> None:
    assert await renews(lease, moment, HEARTBEAT, HeartbeatResponse_v0(error.errno))


@pytest.mark.parametrize("error", [UnknownMemberIdError, IllegalGenerationError])
async def test_a_heartbeat_of_a_former_member_renews_nothing(lease: Lease, moment: Moment, error: Any) -> None:
    assert not await renews(lease, moment, HEARTBEAT, HeartbeatResponse_v0(error.errno))


async def test_the_lease_is_counted_from_the_sending_of_the_heartbeat(lease: Lease, moment: Moment) -> None:
    assert not await renews(lease, moment, HEARTBEAT, HeartbeatResponse_v0(0), seconds=14.0)


async def test_a_join_renews_the_lease_and_a_demand_to_rejoin_does_not(lease: Lease, moment: Moment) -> None:
    again = SyncGroupResponse_v0(RebalanceInProgressError.errno, b"")
    assert not await renews(lease, moment, SYNC, again)
    assert await renews(lease, moment, SYNC, SyncGroupResponse_v0(0, b""))


async def test_other_requests_do_not_renew_the_lease(lease: Lease, moment: Moment) -> None:
    leaving = LeaveGroupRequest("group", "member")
    assert not await renews(lease, moment, leaving, OffsetCommitResponse_v2([]))
