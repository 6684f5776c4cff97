"""`webhooks subscriptions apply` with --dry-run, --diff and --prune, on either broker."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.broker.test_cli_subscriptions import ONE, SECRET, TWO, apply, prepared
from tests.support.brokers import TestBroker
from tests.support.program import Ended, Webhooks

pytestmark = pytest.mark.timeout(240)

ACME = {"customer": "acme"}
OTHER = "not-for-your-eyes-either"


@pytest.fixture
async def webhooks(broker: TestBroker, tmp_path: Path, unique_name: Callable[[str], str]) -> Webhooks:
    """An application with two subscriptions of one customer, and one without a customer."""
    found = await prepared(broker, tmp_path, unique_name("apply"))
    found = Webhooks({**found.environment, "WEBHOOKS_DATA_DIR": str(tmp_path / "state")})
    await apply(found, {**ONE, "metadata": ACME}, {**TWO, "metadata": ACME}, {**TWO, "id": "sub-3"})
    return found


async def run(webhooks: Webhooks, *words: str, documents: list[Any]) -> Ended:
    return await webhooks.run("subscriptions", "apply", "-", *words, stdin=json.dumps(documents).encode())


async def revisions(webhooks: Webhooks) -> dict[str, int]:
    listed = json.loads(await webhooks.done("subscriptions", "list", "--json"))
    return {each["id"]: each["revision"] for each in listed}


def changed(password: str = OTHER) -> dict[str, Any]:
    auth = {"type": "basic", "basic": {"username": "me", "password": password}}
    options = {"callbackUrl": "https://example.com/hook?key=1", "auth": auth, "rate": {"eventsPerSecond": 2}}
    return {**ONE, "metadata": ACME, "configuration": options}


async def test_a_dry_run_shows_what_differs_and_writes_nothing(webhooks: Webhooks) -> None:
    before = await revisions(webhooks)
    documents = [changed(), {**TWO, "metadata": ACME}, {**TWO, "id": "new"}]

    tried = await run(webhooks, "--dry-run", "--diff", documents=documents)
    told = await run(webhooks, "--dry-run", "--diff", "--json", documents=documents)

    assert (tried.code, tried.err) == (0, "")
    assert tried.out.splitlines()[:3] == [
        "sub-1 would be updated",
        "  ~ configuration.entrypointConfiguration.auth.basic.password: changed, a secret",
        "  + configuration.entrypointConfiguration.rate.burst: 1",
    ]
    assert "sub-2 would stay unchanged\nnew would be created\n" in tried.out
    assert [(each["id"], each["result"]) for each in json.loads(told.out)] == [
        ("sub-1", "updated"),
        ("sub-2", "unchanged"),
        ("new", "created"),
    ]
    assert SECRET not in tried.out + told.out
    assert OTHER not in tried.out + told.out
    assert await revisions(webhooks) == before


async def test_one_mistake_prevents_all_writes_and_deletions(webhooks: Webhooks) -> None:
    before = await revisions(webhooks)
    wrong = {"id": "wrong", "configuration": {"callbackURL": "https://example.com"}}

    ended = await run(webhooks, "--prune", "--all", "--yes", documents=[changed(), wrong])

    assert ended.code == 1
    assert "none of the 2 subscriptions was written" in ended.err
    assert await revisions(webhooks) == before


async def test_prune_deletes_subscriptions_that_no_document_names(webhooks: Webhooks, tmp_path: Path) -> None:
    prune = ["--prune", "--metadata", "customer=acme"]

    tried = await run(webhooks, *prune, "--dry-run", documents=[changed()])
    assert tried.out.splitlines() == ["sub-1 would be updated", "sub-2 would be deleted"]
    assert {*await revisions(webhooks)} == {"sub-1", "sub-2", "sub-3"}

    done = await run(webhooks, *prune, "--yes", documents=[changed()])
    assert done.code == 0, done
    assert [line.rpartition(",")[0] for line in done.out.splitlines()] == ["sub-1 updated", "sub-2 deleted"]
    assert {*await revisions(webhooks)} == {"sub-1", "sub-3"}

    [made] = (tmp_path / "state" / "backups").iterdir()
    assert f"webhooks subscriptions apply {made}\n" in done.err
    undone = await webhooks.done("subscriptions", "apply", str(made))
    assert [line.partition(",")[0] for line in undone.splitlines()] == ["sub-1 updated", "sub-2 created"]
    assert (await apply(webhooks, {**ONE, "metadata": ACME})).startswith("sub-1 unchanged")


async def test_a_deletion_by_prune_asks_for_confirmation(webhooks: Webhooks, tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text(json.dumps({**ONE, "metadata": ACME}))
    words = ["subscriptions", "apply", str(tmp_path / "one.json"), "--prune", "--all"]

    refused = await webhooks.run(*words, stdin=b"n\n")
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.splitlines()[:2] == ["sub-2 would be deleted", "sub-3 would be deleted"]
    assert (
        "Delete 2 subscriptions that are not in the files? Waiting and future events are dead-lettered [y/N]: "
        in refused.err
    )
    assert {*await revisions(webhooks)} == {"sub-1", "sub-2", "sub-3"}
    confirmed = await webhooks.run(*words, stdin=b"y\n")
    assert confirmed.code == 0, confirmed
    assert {*await revisions(webhooks)} == {"sub-1"}


async def test_a_file_that_removes_protection_causes_a_warning(webhooks: Webhooks) -> None:
    bare = {"id": "sub-1", "configuration": {"callbackUrl": "https://example.com/hook"}, "metadata": ACME}

    for words in (["--dry-run"], []):
        ended = await run(webhooks, *words, documents=[bare])
        assert ended.err == "sub-1: auth is removed: requests will have no credentials\n"


async def test_contradictory_options_of_prune_are_refused(webhooks: Webhooks) -> None:
    for words, sentence in (
        (["--prune"], "--prune needs either --metadata NAME=VALUE or --all"),
        (["--all"], "these two need --prune"),
        (["--metadata", "a=b"], "these two need --prune"),
        (["--prune", "--all", "--metadata", "a=b"], "--prune needs either"),
        (["--prune", "--all"], "use --yes"),
    ):
        ended = await run(webhooks, *words, documents=[ONE])
        assert (ended.code, sentence in ended.err) == (2, True), (words, ended)
