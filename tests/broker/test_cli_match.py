"""`webhooks match` on either kind of broker."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.brokers import TestBroker
from tests.support.program import Webhooks, definition, write_application

PAID = {"exact": {"type": ["order.paid", "order.refunded"], "/shop": "7"}}


def document(name: str, wanted: dict[str, Any] | None = None) -> dict[str, Any]:
    configuration = {"callbackUrl": "https://example.com"} | ({} if wanted is None else {"filter": wanted})
    return {"id": name, "configuration": configuration}


@pytest.fixture
def app(unique_name: Callable[[str], str]) -> str:
    return unique_name("match")


async def prepared(broker: TestBroker, folder: Path, app: str, routing: str | None) -> Webhooks:
    """An application whose topics exist, with three subscriptions."""
    await broker.create_topic(f"{app}.subscriptions", 1, {"cleanup.policy": "compact"})
    source = await broker.create_topic(f"{app}-events", 3)
    api: dict[str, Any] = definition(broker.bootstrap, source)
    api["listeners"][0]["entrypoints"][0]["routing"] = routing or "key"
    webhooks = write_application(folder, app, api)
    subscriptions = [document("all"), document("keyed", {"prefix": {"key": "shop-"}}), document("paid", PAID)]
    await webhooks.done("subscriptions", "apply", "-f", "-", stdin=json.dumps(subscriptions).encode())
    if routing is None:
        del api["listeners"][0]["entrypoints"][0]["routing"]
        write_application(folder, app, api)
    return webhooks


async def test_match_prints_who_gets_an_event_and_why_not(broker: TestBroker, tmp_path: Path, app: str) -> None:
    webhooks = await prepared(broker, tmp_path, app, "match")
    (tmp_path / "event.json").write_text('{"shop": 7}')

    out = await webhooks.done(
        "match", str(tmp_path / "event.json"), "--topic", f"{app}-events", "-H", "ce_type: order.paid", "--key", "x"
    )

    assert out == (
        f"topic {app}-events: 2 of 3 subscriptions would get the event\n"
        "ID     GETS IT  WHY\n"
        "all    yes      it has no filter\n"
        'keyed  no       key is "x"; it must begin with "shop-"\n'
        "paid   yes      its filter matches\n"
    )


async def test_an_event_is_matched_in_each_topic(broker: TestBroker, tmp_path: Path, app: str) -> None:
    webhooks = await prepared(broker, tmp_path, app, "match")
    more = await broker.create_topic(f"{app}-more", 1)
    api: dict[str, Any] = definition(broker.bootstrap, f"{app}-events")
    api["listeners"][0]["entrypoints"][0]["routing"] = "match"
    api["endpointGroups"][0]["endpoints"][0]["sharedConfigurationOverride"]["consumer"]["topics"] += [more]
    write_application(tmp_path, app, api)
    one = {**document("one"), "topics": [more]}
    await webhooks.done("subscriptions", "apply", "-f", "-", stdin=json.dumps(one).encode())

    out = await webhooks.done("match", "-", stdin=b"{}")
    found = json.loads(await webhooks.done("match", "-", "-o", "json", stdin=b"{}"))

    assert [line for line in out.splitlines() if line.startswith("topic ")] == [
        f"topic {app}-events: 1 of 4 subscriptions would get the event",
        f"topic {more}: 2 of 4 subscriptions would get the event",
    ]
    assert [each["topic"] for each in found] == [f"{app}-events", more]
    assert (await webhooks.done("send", "one", "{}")).startswith(f"{more}-0-"), (
        "the subscription gets events of this topic only"
    )
    ambiguous = await webhooks.run("send", "all", "{}")
    assert ambiguous.code == 1
    assert "--topic: is required, because there are several" in ambiguous.err


async def test_match_reads_standard_input_and_writes_json(broker: TestBroker, tmp_path: Path, app: str) -> None:
    webhooks = await prepared(broker, tmp_path, app, "match")

    ended = await webhooks.run("match", "-", "-o", "json", stdin=b"no json")

    assert (ended.code, ended.err.count("\n")) == (0, 1)
    assert ended.err.startswith("standard input is not JSON in UTF-8")
    found = json.loads(ended.out)
    assert (found["topic"], found["routing"]) == (f"{app}-events", "match")
    assert {each["id"]: (each["getsIt"], len(each["mismatches"])) for each in found["subscriptions"]} == {
        "all": (True, 0),
        "keyed": (False, 1),
        "paid": (False, 2),
    }


async def test_with_routing_key_only_the_key_decides(broker: TestBroker, tmp_path: Path, app: str) -> None:
    webhooks = await prepared(broker, tmp_path, app, "key")

    assert await webhooks.done("match", "-", "--key", "keyed") == (
        "routing: key: only the subscription keyed gets the event, because its id is the event's key\n"
        "ID     GETS IT  WHY\n"
        'keyed  no       key is "keyed"; it must begin with "shop-"\n'
    )
    assert await webhooks.done("match", "-", "--key", "nobody") == (
        "routing: key: there is no subscription nobody, so the event would be dead-lettered\n"
    )
    ended = await webhooks.run("match", "-")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("Error: --key: is required with routing: key")


async def test_match_needs_a_routing_and_a_known_topic(broker: TestBroker, tmp_path: Path, app: str) -> None:
    webhooks = await prepared(broker, tmp_path, app, None)

    ended = await webhooks.run("match", "-")
    assert (ended.code, ended.out) == (1, "")
    assert "routing: is required" in ended.err
    ended = await webhooks.run("match", "-", "--topic", f"{app}-event")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == f'Error: --topic: "{app}-event" is not a source topic; did you mean {app}-events?\n'
    ended = await webhooks.run("match", "/nowhere.json")
    assert ended.err == "Error: EVENT: /nowhere.json can't be read: No such file or directory\n"
