"""`routing` in commands: without a configured routing, and with `match`."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.brokers import TestBroker
from tests.support.program import Webhooks, definition, write_application


@pytest.fixture
def make(kafka: TestBroker, tmp_path: Path, unique_name: Callable[[str], str]) -> Callable[..., Any]:
    async def application(**entrypoint: object) -> Webhooks:
        """An application whose source topic exists, with these fields of the entrypoint."""
        name = unique_name("routing")
        source = await kafka.create_topic(f"{name}-orders", 2)
        document: dict[str, Any] = definition(kafka.bootstrap, source)
        document["listeners"][0]["entrypoints"][0].update(entrypoint)
        return write_application(tmp_path, name, document)

    return application


def documents(*names: str, **more: object) -> bytes:
    found = [{"id": name, "configuration": {"callbackUrl": "http://127.0.0.1:9/"}, **more} for name in names]
    return json.dumps(found).encode()


def filtered(name: str) -> bytes:
    options = {"callbackUrl": "http://127.0.0.1:9/", "filter": {"exact": {"type": "paid"}}}
    return json.dumps({"id": name, "configuration": options}).encode()


def with_routing(webhooks: Webhooks, routing: str) -> Webhooks:
    return replace(webhooks, environment={**webhooks.environment, "WEBHOOKS_ROUTING": routing})


async def test_without_routing_a_worker_explains_the_choice(make: Callable[..., Any], kafka: TestBroker) -> None:
    unsaid = await make(routing=None)
    keyed = with_routing(unsaid, "key")
    source = f"{unsaid.environment['WEBHOOKS_APP']}-orders"
    await keyed.done("check")
    await keyed.done("subscriptions", "apply", "-f", "-", stdin=documents("a", "b"))
    await kafka.produce(source, (b"a", b"{}"), (b"order-1", b"{}"))

    for command in (("worker", "--without-web"), ("check",), ("subscriptions", "apply", "-f", "-")):
        ended = await unsaid.run(*command, stdin=documents("c"))
        assert ended.code == 1
        assert ".yaml: listeners[0].entrypoints[0].routing: is required; allowed: match, key." in ended.err
        assert f"The newest 2 keys of {source}: " in ended.err
        assert "With key, 1 of these 2 events would be dead-lettered" in ended.err
        assert "With match, 2 of your 2 subscriptions would get every event" in ended.err
        assert "WEBHOOKS_ROUTING=match" in ended.err
        assert "Traceback" not in ended.err


async def test_without_routing_subscriptions_can_be_shown_and_paused(make: Callable[..., Any]) -> None:
    unsaid = await make(routing=None)
    await with_routing(unsaid, "match").done("check")
    await with_routing(unsaid, "match").done("subscriptions", "apply", "-f", "-", stdin=documents("a"))

    await unsaid.done("subscriptions", "pause", "a")
    assert " paused " in await unsaid.done("subscriptions", "list")
    shown = json.loads(await unsaid.done("subscriptions", "get", "a", "-o", "json"))
    assert (shown["routing"], shown["createdRevision"], shown["revision"]) == (None, 0, 1)


async def test_without_a_broker_the_error_shows_no_keys_of_events(make: Callable[..., Any]) -> None:
    unsaid = await make(routing=None)
    ended = await replace(unsaid, environment={**unsaid.environment, "WEBHOOKS_BOOTSTRAP_SERVERS": "127.0.0.1:1"}).run(
        "check"
    )

    assert ended.code == 1
    assert "routing: is required" in ended.err
    assert "newest" not in ended.err


async def test_with_match_advisories_list_subscriptions_without_filter(
    make: Callable[..., Any], kafka: TestBroker
) -> None:
    webhooks = await make(routing="match")
    source = f"{webhooks.environment['WEBHOOKS_APP']}-orders"
    await webhooks.done("check")
    await kafka.produce(source, (b"order-1", b"{}"), partition=1)

    names = [f"all-{number:02}" for number in range(12)]
    applied = await webhooks.run("subscriptions", "apply", "-f", "-", stdin=documents(*names))
    assert f"all-00: gets every event of {source}\n" in applied.err
    applied = await webhooks.run("subscriptions", "apply", "-f", "-", stdin=documents("one", topics=[source]))
    assert (applied.code, applied.err) == (0, "")

    sent = await webhooks.run("send", "one", "{}", "-o", "json")
    assert (json.loads(sent.out)["subscription"], sent.err) == ("one", "")

    checked = await webhooks.done("check")
    assert (
        f"ok  routing: match: each event of {source} goes to every subscription whose topics and filter match it\n"
    ) in checked
    assert (f"ok  subscriptions: 12 of 13 get every event of {source}: {', '.join(names[:10])} and 2 more\n") in checked
    assert "the key of an event" not in checked

    header, first, *_, last = (await webhooks.done("subscriptions", "list", "--wide")).splitlines()
    assert header.split()[-2:] == ["TOPICS", "BEGINS"]
    assert first.split()[-2:] == ["all", "now"]
    assert last.split()[-2:] == [source, "now"]
    shown = json.loads(await webhooks.done("subscriptions", "get", "one", "-o", "json"))
    assert (shown["routing"], shown["topics"], shown["start"][source]["offsets"]) == ("match", [source], [0, 1])
    yaml = await webhooks.done("subscriptions", "get", "one")
    assert "one unchanged" in await webhooks.done("subscriptions", "apply", "-f", "-", stdin=yaml.encode())


async def test_commands_count_only_events_that_match_the_filter(make: Callable[..., Any], kafka: TestBroker) -> None:
    webhooks = await make(routing="match")
    app = webhooks.environment["WEBHOOKS_APP"]
    source = f"{app}-orders"
    await webhooks.done("check")
    await kafka.produce(source, (b"order-1", b""), (b"order-1", b""), partition=0)
    options = {"callbackUrl": "http://127.0.0.1:9/", "filter": {"exact": {"key": "order-1"}}}
    document = json.dumps({"id": "a", "configuration": options}).encode()
    await webhooks.done("subscriptions", "apply", "-f", "-", stdin=document)
    await kafka.produce(source, (b"order-1", b""), (b"order-2", b""), (b"order-1", b""), partition=0)
    await kafka.commit(app, source, {0: 1, 1: 0})

    paused = await webhooks.run("subscriptions", "pause", "a")
    assert paused.err.splitlines() == [
        "partition 0: up to 2 events waiting, from 2 on",
        "partition 1: no events waiting",
    ]
    forward = ["subscriptions", "replay", "a", "--partition", "0", "--offset", "5"]
    assert "stays at 2, because of up to 2 events waiting before 5" in (await webhooks.run(*forward)).err
    discarded = await webhooks.run(*forward, "--discard-waiting")
    assert discarded.code == 0
    assert discarded.err.splitlines() == [
        "partition 0: discards up to 2 events, offsets 2 to 4",
        "a: is paused by its publisher: nothing is sent until it is resumed",
    ]

    unsaid = replace(webhooks, environment={**webhooks.environment, "WEBHOOKS_API": without_routing(webhooks)})
    resumed = await unsaid.run("subscriptions", "resume", "a")
    assert resumed.code == 0
    assert resumed.err == (
        "the effect in each partition is unknown: the definition has no routing, so it is unknown which subscription "
        "gets which event\n"
    )


def without_routing(webhooks: Webhooks) -> str:
    """Write a copy of the definition without its routing, and return the path of the copy."""
    path = Path(webhooks.environment["WEBHOOKS_API"])
    unsaid = path.with_name("unsaid.yaml")
    unsaid.write_text(path.read_text().replace("routing: match", "routing: null"))
    return str(unsaid)


@pytest.mark.parametrize(
    ("routing", "then"),
    [("key", "Waiting and future events are dead-lettered"), ("match", "No more events are sent, not ")],
)
async def test_a_deletion_says_what_happens_to_the_events(make: Callable[..., Any], routing: str, then: str) -> None:
    webhooks = await make(routing=routing)
    await webhooks.done("check")
    await webhooks.done("subscriptions", "apply", "-f", "-", stdin=documents("a"))
    asked = await webhooks.run("subscriptions", "delete", "a", stdin=b"n\n")
    assert f"Delete a? {then}" in asked.out + asked.err


async def test_a_filter_can_be_required(make: Callable[..., Any]) -> None:
    guarded = await make(requireFilter=True, routing=None)
    webhooks = with_routing(guarded, "match")
    await webhooks.done("check")

    refused = await webhooks.run("subscriptions", "apply", "-f", "-", stdin=documents("a"))
    assert refused.code == 1
    assert "filter: the definition (requireFilter) requires a filter or topics" in refused.err
    await webhooks.done("subscriptions", "apply", "-f", "-", stdin=filtered("b"))
    assert "ok  subscriptions: 1, each with a filter or topics\n" in await webhooks.done("check")

    # Subscription `a` was applied with another routing. Its deliveries are not stopped.
    await with_routing(guarded, "key").done("subscriptions", "apply", "-f", "-", stdin=documents("a"))
    checked = await webhooks.done("check")
    assert "warn  subscriptions: 1 of 2 get every event of " in checked
    assert "; they were applied before requireFilter, which refuses only new and changed subscriptions\n" in checked
    assert " STARTED " in await webhooks.done("subscriptions", "list", "--wide")
