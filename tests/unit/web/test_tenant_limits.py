"""The limits of one tenant (web/tenant_limits.py)."""

import asyncio
from contextlib import ExitStack

import pytest

from pipeline.core.errors import BusyError
from pipeline.web.principal import Principal
from pipeline.web.tenant_limits import OF_A_TENANT, Places, Turns

ACME = Principal("jane", tenant={"customer": "acme"})
ACME_TOO = Principal("joe", tenant={"customer": "acme"})
OTHER = Principal("jane", tenant={"customer": "other"})
OPERATOR = Principal("the admin token")


def test_all_principals_of_a_tenant_share_one_limit() -> None:
    places = Places("things are done", 4, 2)
    with ExitStack() as taken:
        taken.enter_context(places.place(ACME))
        taken.enter_context(places.place(ACME_TOO))
        with pytest.raises(BusyError, match="2 things are done for this tenant in this worker; nothing was done"):
            taken.enter_context(places.place(ACME))
        taken.enter_context(places.place(OTHER))
        taken.enter_context(places.place(OPERATOR))
        with pytest.raises(BusyError, match="4 things are done in this worker"):
            taken.enter_context(places.place(OPERATOR))
    with places.place(ACME), places.place(ACME):
        pass


def test_the_limit_of_a_tenant_does_not_apply_to_operators() -> None:
    places = Places("things are done", 4, 2)
    with ExitStack() as taken:
        for _ in range(4):
            taken.enter_context(places.place(OPERATOR))


async def test_principals_that_wait_take_turns() -> None:
    turns, done, may_go = Turns("things are waiting"), list[str](), asyncio.Event()

    async def work(principal: Principal, name: str) -> None:
        async with turns.turn(principal):
            await may_go.wait()
            done.append(name)

    async with asyncio.TaskGroup() as group:
        for name in ("acme-1", "acme-2", "acme-3"):
            group.create_task(work(ACME, name))
        await asyncio.sleep(0)
        group.create_task(work(OTHER, "other-1"))
        await asyncio.sleep(0)
        may_go.set()
    assert done == ["acme-1", "other-1", "acme-2", "acme-3"]


async def test_a_wait_for_a_turn_has_a_time_limit() -> None:
    turns = Turns("redrives are waiting")
    async with turns.turn(OPERATOR):
        with pytest.raises(BusyError, match="redrives are waiting for more than 0 s; nothing was done"):
            async with turns.turn(ACME, 0):
                pass
    async with turns.turn(ACME, 60):
        pass


async def test_only_a_few_requests_of_a_tenant_may_wait() -> None:
    turns = Turns("things are waiting")

    async def wait(principal: Principal) -> None:
        async with turns.turn(principal):
            pass

    async with turns.turn(OPERATOR):
        waiting = [asyncio.ensure_future(wait(ACME)) for _ in range(OF_A_TENANT)]
        await asyncio.sleep(0)
        with pytest.raises(BusyError, match="4 things are waiting for this tenant"):
            await wait(ACME)
        other = asyncio.ensure_future(wait(OTHER))
    await asyncio.gather(*waiting, other)
