"""`webhooks check` and `webhooks worker` on a real Kafka: their output, the topics that they create, how they end."""

import json
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
from cryptography.fernet import Fernet

from tests.support.brokers import TestBroker
from tests.support.program import Running, Webhooks, application


@pytest.fixture
async def webhooks(kafka: TestBroker, tmp_path: Path, unique_name: Callable[[str], str]) -> Webhooks:
    """An application whose source and dead-letter topics exist."""
    name = unique_name("cli")
    source = await kafka.create_topic(f"{name}-events", 3)
    dlq = await kafka.create_topic(f"{name}-dlq", 1)
    return application(tmp_path, name, kafka.bootstrap, source=source, dlq=dlq)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def levels(running: Running) -> set[str]:
    return {line.split()[1] for line in running.output}


async def test_check_creates_the_topics_of_the_pipeline(webhooks: Webhooks, kafka: TestBroker) -> None:
    name = webhooks.environment["WEBHOOKS_APP"]

    first = await webhooks.done("check", "--no-create")
    second = await webhooks.done("check")
    third = await webhooks.done("check")

    assert f"ok  topic {name}.cursors: does not exist; this user has the right to create it, " in first
    assert f"ok  topic {name}.cursors: created, 3 partitions, compacted" in second
    assert third.splitlines() == [
        f"ok  definition orders: at-least-once, from topic {name}-events",
        f"ok  routing: key: each event of {name}-events goes to the subscription whose id is its key",
        f"ok  Kafka at {kafka.bootstrap}: reachable",
        f"ok  topic {name}-events: exists, 3 partitions",
        f"ok  topic {name}.subscriptions: exists, 1 partition, compacted",
        f"ok  topic {name}.cursors: exists, 3 partitions, compacted",
        f"ok  topic {name}-tokens-changelog: exists, 3 partitions, compacted",
        f"ok  topic {name}.workers: exists, 1 partition",
        f"ok  topic {name}.attempts: exists, 3 partitions",
        f"ok  topic {name}.events: exists, 1 partition",
        f"ok  topic {name}.audit: exists, 1 partition",
        f"ok  topic {name}-dlq: exists, dead letters can be written",
        "ok  fields of the definition without effect: plans",
        f"ok  topic {name}-events: has no events yet",
    ]


async def test_check_prints_problems_and_facts(
    kafka: TestBroker, tmp_path: Path, unique_name: Callable[[str], str]
) -> None:
    name = unique_name("cli")
    source = await kafka.create_topic(f"{name}-events", 2, {"cleanup.policy": "compact"})
    await kafka.create_topic(f"{name}.cursors", 3, {"cleanup.policy": "compact"})

    ended = await application(tmp_path, name, kafka.bootstrap, source=source, dlq=f"{name}-dlq").run("check")

    assert ended.code == 1
    assert f"topic {source}: cleanup.policy is compact" in ended.err
    assert f"topic {name}.cursors: has 3 partitions; it must have 2" in ended.err
    assert f"topic {name}-dlq: does not exist" in ended.err
    assert f"ok  topic {name}.subscriptions: created" in ended.out
    assert not any(f"topic {each}:" in ended.out for each in (source, f"{name}.cursors", f"{name}-dlq"))


async def test_check_fails_if_no_key_decrypts_the_secrets(webhooks: Webhooks) -> None:
    await webhooks.done("check")
    signed = {"callbackUrl": "http://127.0.0.1:9/", "signing": {"secrets": [f"whsec_{'MTIz' * 8}"]}}
    document = {"id": "sub-1", "configuration": signed}
    await webhooks.done("subscriptions", "apply", "-f", "-", stdin=json.dumps(document).encode())
    assert "ok  topic" in await webhooks.done("check")

    keys = {"WEBHOOKS_SECRET_KEYS": Fernet.generate_key().decode()}
    ended = await Webhooks({**webhooks.environment, **keys}).run("check")

    assert ended.code == 1
    assert (
        "Error: WEBHOOKS_SECRET_KEYS: no key decrypts the secrets of 1 of these subscriptions; "
        "set the keys that the workers have, or add the missing key after a comma\n"
    ) in ended.err

    other = Webhooks({**webhooks.environment, **keys})
    again = json.dumps({**document, "id": "sub-2"}).encode()
    await other.done("subscriptions", "apply", "-f", "-", stdin=again)
    # One of them can be decrypted, so the key is a right one, and workers deliver.
    assert "warn  WEBHOOKS_SECRET_KEYS: no key decrypts the secrets of 1 " in await other.done("check")


async def test_check_counts_new_events_that_match_a_subscription(webhooks: Webhooks, kafka: TestBroker) -> None:
    source = f"{webhooks.environment['WEBHOOKS_APP']}-events"
    await webhooks.done("check")
    document = {"id": "sub-1", "configuration": {"callbackUrl": "http://127.0.0.1:9/"}}
    await webhooks.done("subscriptions", "apply", "-f", "-", stdin=json.dumps(document).encode())
    assert f"ok  topic {source}: has no events yet" in await webhooks.done("check")

    await kafka.produce(source, *((f"order-{number}".encode(), b"{}") for number in range(40)), (None, b"{}"))
    strange = await webhooks.done("check")
    await webhooks.done("send", "sub-1", "{}")
    sound = await webhooks.done("check")

    assert (
        f"warn  topic {source}: 0 of the newest 41 events are for a subscription: "
        "the key of an event must be the id of its subscription\n"
    ) in strange
    assert f"ok  topic {source}: 1 of the newest 42 events are for a subscription\n" in sound


async def test_a_worker_warns_if_no_event_matches_a_subscription(webhooks: Webhooks, kafka: TestBroker) -> None:
    source, port = f"{webhooks.environment['WEBHOOKS_APP']}-events", free_port()
    await kafka.produce(source, *((f"order-{number}".encode(), b"{}") for number in range(25)))

    async with webhooks.start("worker", "--web-port", str(port)) as worker:
        await worker.line(f"topic {source}: none of the last 25 events was for a subscription")
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/health/ready") as response:
            health = await response.json()
        assert await worker.stop(signal.SIGTERM) == 0

    assert (response.status, health["ready"]) == (200, True)
    assert [each.partition(":")[0] for each in health["warnings"]] == [f"topic {source}"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_worker_logs_plain_lines_and_ends_cleanly(webhooks: Webhooks, number: signal.Signals) -> None:
    port = free_port()
    async with webhooks.start("worker", "--web-port", str(port)) as worker:
        await worker.line(f"worker started, pages at http://127.0.0.1:{port}/")

        assert await worker.stop(number) == 0
    assert levels(worker) == {"INFO"}
    assert not any("\x1b" in line for line in worker.output)


async def test_a_worker_logs_its_settings_once_without_secrets(webhooks: Webhooks) -> None:
    async with webhooks.start("worker", "--without-web") as worker:
        await worker.line("worker started, without pages")
        await worker.stop(signal.SIGTERM)

    text = "\n".join(worker.output)
    assert "WEBHOOKS_SECRET_KEYS=set" in text
    assert "WEBHOOKS_ADMIN_TOKEN=set" in text
    assert webhooks.environment["WEBHOOKS_SECRET_KEYS"] not in text
    assert webhooks.environment["WEBHOOKS_ADMIN_TOKEN"] not in text
    assert text.count("fields of the definition without effect here: plans") == 1


async def test_two_workers_on_one_host_need_only_different_ports(webhooks: Webhooks) -> None:
    first, second = str(free_port()), str(free_port())
    by_setting = Webhooks({**webhooks.environment, "WEBHOOKS_WEB_PORT": second})
    async with webhooks.start("worker", "--web-port", first) as one, by_setting.start("worker") as two:
        await one.line(f"worker started, pages at http://127.0.0.1:{first}/")
        await two.line(f"worker started, pages at http://127.0.0.1:{second}/")

        assert await one.stop(signal.SIGTERM) == 0
        assert await two.stop(signal.SIGTERM) == 0


async def test_a_port_that_is_taken_is_reported_in_a_sentence(webhooks: Webhooks) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        ended = await webhooks.run("worker", "--web-port", str(port))

    assert ended.code == 1
    assert ended.err.startswith(f"Error: WEBHOOKS_WEB_PORT: 127.0.0.1:{port} can't be bound")


async def test_a_worker_whose_source_is_missing_does_not_start(
    kafka: TestBroker, tmp_path: Path, unique_name: Callable[[str], str]
) -> None:
    name = unique_name("cli")

    ended = await application(tmp_path, name, kafka.bootstrap, source=f"{name}-events").run("worker", "--without-web")

    assert ended.code == 1
    assert f"Error: topic {name}-events: does not exist" in ended.err
    assert "Traceback" not in ended.err
