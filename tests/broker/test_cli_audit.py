"""Changes by commands are recorded like changes by the API, on either kind of broker."""

import getpass
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.broker.test_cli_subscriptions import ONE, SECRET, TWO, apply, prepared
from tests.support.brokers import TestBroker
from tests.support.program import Webhooks

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
async def webhooks(broker: TestBroker, tmp_path: Path, unique_name: Callable[[str], str]) -> Webhooks:
    return await prepared(broker, tmp_path, unique_name("cli"))


async def recorded(webhooks: Webhooks, broker: TestBroker) -> list[dict[str, Any]]:
    return [
        json.loads(each.value or b"") for each in await broker.read(f"{webhooks.environment['WEBHOOKS_APP']}.audit")
    ]


async def test_changes_by_commands_are_recorded(webhooks: Webhooks, broker: TestBroker) -> None:
    await apply(webhooks, ONE, TWO)
    await webhooks.done("subscriptions", "pause", "sub-2")
    await webhooks.done("subscriptions", "pause", "sub-2")  # changes nothing
    await webhooks.done("subscriptions", "delete", "sub-1", "--yes")

    found = await recorded(webhooks, broker)

    assert [(each["what"], each["subscription"], each["revisions"]) for each in found] == [
        ("webhooks subscriptions apply", None, {"sub-1": 0, "sub-2": 1}),
        ("webhooks subscriptions pause", "sub-2", {"sub-2": 2}),
        ("webhooks subscriptions delete", "sub-1", {"sub-1": 3}),
    ]
    assert {(each["who"], each["from"]) for each in found} == {(getpass.getuser(), socket.gethostname())}
    assert SECRET not in json.dumps(found)


async def test_a_change_that_can_t_be_recorded_is_made_and_reported(
    broker: TestBroker, tmp_path: Path, unique_name: Callable[[str], str]
) -> None:
    name = unique_name("cli")
    webhooks = await prepared(broker, tmp_path, name, has_audit=False)

    ended = await webhooks.run("subscriptions", "apply", "-f", "-", stdin=json.dumps(ONE).encode())

    assert (ended.code, ended.out) == (0, "sub-1 created, revision 0\n")
    assert f"the change was made, but not recorded: topic {name}.audit: does not exist" in ended.err
