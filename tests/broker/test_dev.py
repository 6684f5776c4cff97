"""`webhooks dev` as a new user runs it: one command starts everything."""

import asyncio
import re
import signal
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest

from pipeline.cli.dev.run import _bound
from pipeline.core.errors import ConfigurationError
from tests.support.program import Running, Webhooks
from tests.support.waiting import eventually

RECEIVED = re.compile(r"received (\S+) events-\d-\d+ attempt (\d+) -> (\d{3})")


@pytest.fixture
async def dev() -> AsyncIterator[Running]:
    async with Webhooks({}).start("dev") as running:
        await running.line("webhooks match")
        yield running


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def found(pattern: str, running: Running) -> str:
    match = re.search(pattern, "\n".join(running.output))
    assert match is not None, running.output
    return match[1]


async def after(running: Running, part: str) -> int:
    """Wait for a line with *part*, and return the number of the next line."""
    return running.output.index(await running.line(part)) + 1


async def end(running: Running, number: signal.Signals = signal.SIGINT) -> None:
    """Stop the program, and check that its whole output has no error and only expected warnings."""
    assert await running.stop(number) == 0, running.output
    text = "\n".join(running.output)
    assert "Traceback" not in text
    assert "ERROR" not in text
    assert running.output[-1] == "stopped; nothing was kept"
    warnings = [line for line in running.output if "WARNING" in line]
    assert all("subscription.failed subscription=customer-7" in line for line in warnings), warnings


async def test_one_sample_receiver_accepts_and_another_rejects(dev: Running) -> None:
    assert RECEIVED.fullmatch(await dev.line("received everything "))
    assert (await dev.line("received payments ")).endswith(" attempt 1 -> 422")

    await end(dev)


async def test_a_receiver_that_is_down_is_reported_once(dev: Running) -> None:
    line = await dev.line("subscription.failed subscription=customer-7")

    assert "connection refused" in line
    await dev.line("received everything ", after=len(dev.output))
    await end(dev, signal.SIGTERM)
    assert sum("subscription=customer-7" in line for line in dev.output) == 1


async def test_the_pages_need_the_token(dev: Running, client: aiohttp.ClientSession) -> None:
    page = found(r"look: (http://dev:\S+/)", dev)
    await dev.line("received everything ")

    async with client.get(f"{page}health/ready") as answer:
        assert (answer.status, (await answer.json())["ready"]) == (200, True)
    async with client.get(f"{page}subscriptions") as answer:
        assert answer.status == 200
        assert "everything" in await answer.text()
    async with client.get(re.sub(r"dev:\S+@", "", page)) as answer:
        assert answer.status == 401
    await end(dev)


async def test_the_sample_receiver_misbehaves_when_told_to(dev: Running, client: aiohttp.ClientSession) -> None:
    behave = found(r"'(http://\S+/behave)\?", dev)
    await dev.line("received everything ")

    async with client.post(behave, params={"subscription": "everything", "mode": "reject"}) as answer:
        assert answer.status == 200
    rejected = await dev.line("-> 422", after=await after(dev, '"everything" is answered 422 from now on'))
    async with client.post(behave, params={"subscription": "everything", "mode": "fail"}) as answer:
        assert answer.status == 200
    failed = await dev.line("received everything ", after=await after(dev, '"everything" is answered 503 from now on'))
    async with client.post(behave, params={"subscription": "everything", "mode": "dance"}) as answer:
        assert (answer.status, await answer.text()) == (
            400,
            "allowed: /behave?subscription=ID&mode=MODE with MODE one of ok, slow, reject, fail\n",
        )

    async with client.post(behave, params={"subscription": "nobody", "mode": "fail"}) as answer:
        known = "customer-7, everything, orders-from-japan, payments"
        assert (answer.status, await answer.text()) == (400, f'there is no subscription "nobody"; known: {known}\n')

    assert rejected.startswith("received ")
    assert failed.endswith(" attempt 1 -> 503")
    again = await dev.line(" attempt 2 -> 503")
    assert again.startswith(failed.removesuffix(" attempt 1 -> 503"))
    await end(dev)


async def test_other_commands_work_with_webhooks_dev(dev: Running) -> None:
    beside = Webhooks({"WEBHOOKS_CONFIG": found(r"WEBHOOKS_CONFIG=(\S+)", dev)})
    await dev.line("received everything ")
    await dev.line("subscription.failed subscription=customer-7")
    seen = len(dev.output)

    place = await beside.done("send", "everything", "mine")
    await dev.line(f"received everything {place.strip()} attempt 1 -> 200", after=seen)
    assert "customer-7  " in await beside.done("subscriptions", "list")
    await end(dev)


async def test_commands_know_what_waits_in_webhooks_dev(dev: Running) -> None:
    beside = Webhooks({"WEBHOOKS_CONFIG": found(r"WEBHOOKS_CONFIG=(\S+)", dev)})
    await dev.line("received everything ")

    async def is_announced() -> bool:
        # The worker announces its partitions every two seconds.
        return not (await beside.run("subscriptions", "list")).err

    await eventually(is_announced, within_seconds=20, says=lambda: "the worker announces no partitions")
    listed = await beside.run("subscriptions", "list")
    explained = await beside.run("explain", "everything")

    assert (listed.code, listed.err) == (0, "")
    assert "customer-7  " in listed.out
    assert "?" not in listed.out
    assert (explained.code, explained.err) == (0, "")
    assert "unknown" not in explained.out
    await end(dev)


async def test_a_replay_by_time_works_with_webhooks_dev(dev: Running) -> None:
    beside = Webhooks({"WEBHOOKS_CONFIG": found(r"WEBHOOKS_CONFIG=(\S+)", dev)})
    first = await dev.line("received everything ")

    foreseen = await beside.run("subscriptions", "replay", "everything", "--since", "1m", "--dry-run")
    seen = len(dev.output)
    await beside.done("subscriptions", "replay", "everything", "--since", "1m")

    assert " again, offsets 0 to " in foreseen.err
    assert await dev.line(first, after=seen) == first
    await end(dev)


async def test_check_says_what_webhooks_dev_can_not_tell(dev: Running) -> None:
    beside = Webhooks({"WEBHOOKS_CONFIG": found(r"WEBHOOKS_CONFIG=(\S+)", dev)})

    checked = await beside.run("check")

    assert (checked.code, checked.err) == (0, "")
    assert "warn  the settings of topics and the rights of users are unknown: the embedded broker" in checked.out
    assert "compacted" not in checked.out
    await end(dev)


async def test_webhooks_dev_can_be_stopped_during_its_start() -> None:
    async with Webhooks({}).start("dev", "--verbose") as running:
        await running.line("Starting...")
        await end(running)


async def test_a_port_that_is_taken_is_reported_in_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])

        for option in ("--web-port", "--receiver-port"):
            ended = await Webhooks({}).run("dev", option, port)
            assert ended.code == 1
            assert ended.err == f"Error: {option}: 127.0.0.1:{port} can't be bound: Address already in use\n"


def test_of_two_concurrent_starts_one_gets_the_receiver_port() -> None:
    with _bound("--receiver-port", None, listens=True) as first:
        port = first.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"^--receiver-port: 127.0.0.1:{port} can't be bound"):
            _bound("--receiver-port", port, listens=True)


async def test_webhooks_dev_ignores_settings_for_other_workers() -> None:
    async with Webhooks({"WEBHOOKS_CONFIG": "/no/such/file", "WEBHOOKS_NONSENSE": "1"}).start("dev") as running:
        await running.line("received everything ")
        await end(running)


async def test_two_instances_run_at_the_same_time() -> None:
    async with Webhooks({}).start("dev") as one, Webhooks({}).start("dev") as two:
        await asyncio.gather(one.line("received everything "), two.line("received everything "))
        await asyncio.gather(end(one), end(two))
