"""Commands that change all subscriptions that match a filter, on either kind of broker."""

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.model import Cursor
from tests.broker.test_cli_subscriptions import FAILED, ONE, RETRYING, SECRET, TWO, apply, note, prepared, without_rows
from tests.support.brokers import TestBroker
from tests.support.cluster import cluster
from tests.support.program import Webhooks
from tests.support.recorder import Recorder
from tests.support.recorder import answer as respond
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(240)

ACME = {"customer": "acme"}


@pytest.fixture
async def webhooks(broker: TestBroker, tmp_path: Path, unique_name: Callable[[str], str]) -> Webhooks:
    """An application with three subscriptions in FAILURE, two live ones, and one that retries."""
    found = await prepared(broker, tmp_path, unique_name("bulk"))
    found = Webhooks({**found.environment, "WEBHOOKS_DATA_DIR": str(tmp_path / "state")})
    await broker.create_topic(f"{found.environment['WEBHOOKS_APP']}.workers", 1, {"cleanup.policy": "compact"})
    failed = [{**TWO, "id": name, "metadata": ACME if name == "failed-0" else {}} for name in failed_names()]
    well = {"team": "well"}
    others = [
        {**TWO, "id": "retrying"},
        {**TWO, "id": "well-0", "metadata": well},
        {**TWO, "id": "well-1", "metadata": {**well, "has": "no row"}},
    ]
    await apply(found, *failed, *others)
    rows = [(0, name, FAILED) for name in failed_names()]
    await note(found, broker, *rows, (1, "retrying", RETRYING), (0, "well-0", Cursor(next=1)))
    return found


def failed_names() -> list[str]:
    return [f"failed-{number}" for number in range(3)]


async def answer(webhooks: Webhooks, *words: str, code: int = 0) -> dict[str, Any]:
    """Run a command, and return its JSON."""
    ended = await webhooks.run("subscriptions", *words, "--json")
    assert ended.code == code, ended
    found: dict[str, Any] = json.loads(ended.out)
    return found


async def revisions(webhooks: Webhooks) -> dict[str, int]:
    listed = json.loads(await webhooks.done("subscriptions", "list", "--json"))
    return {each["id"]: each["revision"] for each in listed}


async def test_failures_of_one_outage_are_shown_and_resumed_together(webhooks: Webhooks) -> None:
    before = await revisions(webhooks)
    outage = ["resume", "--all", "--cause", "server-error", "--host", "example.com"]

    tried = await answer(webhooks, *outage, "--dry-run")
    refused = await webhooks.run("subscriptions", *outage, stdin=b"n\n")
    unanswered = await webhooks.run("subscriptions", *outage)
    assert (tried["matched"], tried["changed"], tried["ids"], tried["dryRun"]) == (3, 0, failed_names(), True)
    assert (refused.code, unanswered.code, refused.out) == (1, 1, "")
    assert refused.err.splitlines()[-2].startswith("resume 3 subscriptions: failed-0, failed-1, failed-2; up to ")
    assert "resume 3 subscriptions? [y/N]: " in refused.err
    assert await revisions(webhooks) == before

    done = await webhooks.run("subscriptions", *outage, stdin=b"y\n")
    assert done.code == 0, done
    assert done.out.splitlines()[-1] == "3 changed, 0 unchanged"
    assert "failed-1 updated, revision 7\n" in done.out


async def test_a_bulk_resume_waits_for_the_outcome(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path, recorder: Recorder
) -> None:
    async with cluster(kafka, unique_name("repair"), tmp_path, partitions=1) as found:
        webhooks = Webhooks({**found.environment, "WEBHOOKS_DATA_DIR": str(tmp_path / "state")})
        recorder.behaviours["failing"] = respond(400)
        await found.subscribe(recorder, "failing", "well")
        await found.until_ready(await found.start_worker())
        await found.produce([("failing", b"{}"), ("well", b"{}")])
        await found.until_row("failing", status="failure")
        recorder.behaviours.clear()

        done = await answer(webhooks, "resume", "--all", "--yes", "--wait")
        assert (done["ids"], done["changed"]) == (["failing"], 1)
        assert done["after"]["failing"]["state"] in {"behind", "live"}
        repeated: dict[str, Any] = {}

        async def is_idle() -> bool:
            repeated.update(await answer(webhooks, "resume", "--all", "--state", "live", "--yes"))
            return bool(repeated["unchanged"] == 2)

        await eventually(is_idle, within_seconds=120, says=lambda: str(repeated))
        assert (repeated["matched"], repeated["changed"]) == (2, 0)
        for action in ("resume", "start"):
            assert " unchanged, revision " in await webhooks.done("subscriptions", action, "well")
        paused = await answer(webhooks, "pause", "well", "--wait")
        assert (paused["result"], paused["after"]["state"]) == ("updated", "paused")


async def test_without_a_filter_subscriptions_in_failure_are_resumed(webhooks: Webhooks) -> None:
    await webhooks.done("subscriptions", "pause", "well-1")

    done = await answer(webhooks, "resume", "--all", "--yes")

    assert done["ids"] == failed_names()
    assert (await answer(webhooks, "resume", "--all", "--state", "paused", "--yes"))["ids"] == ["well-1"]


async def test_applying_the_backup_undoes_a_bulk_change(webhooks: Webhooks, tmp_path: Path) -> None:
    await apply(webhooks, {**ONE, "metadata": ACME})
    before = json.loads(await webhooks.done("subscriptions", "list", "--json"))

    done = await webhooks.run("subscriptions", "stop", "--all", "--metadata", "customer=acme", "--yes")
    [made] = (tmp_path / "state" / "backups").iterdir()
    assert f"backup before the change: {made}; to undo: webhooks subscriptions apply {made}\n" in done.err
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    text = made.read_text()
    assert [each["id"] for each in json.loads(text)] == ["failed-0", "sub-1"]
    assert SECRET not in text
    assert "key=1" not in text

    await webhooks.done("subscriptions", "delete", "sub-1", "--yes")
    await webhooks.done("subscriptions", "apply", str(made))
    after = json.loads(await webhooks.done("subscriptions", "list", "--json"))
    assert [_asked(each) for each in after] == [_asked(each) for each in before]
    # This shows that the original secret is restored, because another secret would be a change.
    assert (await apply(webhooks, {**ONE, "metadata": ACME})).startswith("sub-1 unchanged")


def _asked(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in {"revision", "delivery"}}


async def test_a_backup_never_replaces_a_file(webhooks: Webhooks, tmp_path: Path) -> None:
    before = await revisions(webhooks)
    (tmp_path / "mine.json").write_text("[]")

    ended = await webhooks.run("subscriptions", "pause", "--all", "--yes", "--backup", str(tmp_path / "mine.json"))

    assert ended.code == 1
    assert "mine.json can't be written: File exists; nothing was changed" in ended.err
    assert await revisions(webhooks) == before


async def test_a_bulk_change_prints_the_resulting_states(webhooks: Webhooks) -> None:
    # No worker is running that could carry out a command.
    resumed = await answer(webhooks, "resume", "--all", "--yes", "--wait", "--wait-seconds", "0.1", code=1)
    paused = await answer(webhooks, "pause", "--all", "--metadata", "has=no row", "--yes", "--wait")

    assert {name: state["state"] for name, state in resumed["after"].items()} == dict.fromkeys(
        failed_names(), "failure"
    )
    assert resumed["after"]["failed-0"]["cause"]["message"] == "the callback answered 503"
    assert {name: state["state"] for name, state in paused["after"].items()} == {"well-1": "paused"}


async def test_a_bulk_replay_includes_live_subscriptions(webhooks: Webhooks) -> None:
    done = await answer(webhooks, "replay", "--all", "--metadata", "team=well", "--since", "yesterday", "--yes")

    assert [*done["revisions"]] == ["well-0", "well-1"]
    [document] = (json.loads(await webhooks.done("subscriptions", "get", "well-1", "--json")),)
    assert document["resumeFrom"]["timestamp"].endswith("T00:00:00Z")


async def test_without_rows_a_bulk_command_changes_nothing(
    broker: TestBroker, tmp_path: Path, unique_name: Callable[[str], str]
) -> None:
    webhooks = await without_rows(broker, tmp_path, unique_name("bulk"))

    ended = await webhooks.run("subscriptions", "pause", "--all", "--yes")

    assert (ended.code, ended.out) == (1, "")
    assert "Error: the states of subscriptions are unknown, so none was changed: topic " in ended.err
    assert await revisions(webhooks) == {"sub-2": 0}


async def test_contradictory_options_are_refused(webhooks: Webhooks) -> None:
    for words, sentence in (
        (["resume"], "name subscriptions, or use --all"),
        (["resume", "a", "--all"], "name subscriptions, or use --all"),
        (
            ["pause", "a", "--state", "live"],
            "--state, --cause, --host, --metadata and --backup need --all",
        ),
        (["pause", "a", "--dry-run"], "--dry-run works only with --all or with a replay"),
        (["pause", "--all", "--metadata", "customer"], "'customer' is not NAME=VALUE"),
        (
            ["pause", "--all", "--host", "https://a.example"],
            '"https://a.example" is not a host; allowed: HOST or HOST:PORT',
        ),
        (["replay", "--all"], "name the start"),
        (["replay", "--all", "--partition", "0", "--offset", "0"], "with --all: --since is required"),
        (["replay", "a", "b", "--since", "1h"], "name one subscription, or use --all"),
    ):
        ended = await webhooks.run("subscriptions", *words)
        assert (ended.code, sentence in ended.err) == (2, True), (words, ended)
