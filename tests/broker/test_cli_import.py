"""`webhooks import-gravitee`, and a migration with it: only events that the old groups had not processed arrive."""

import json
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.support.brokers import TestBroker
from tests.support.program import Webhooks, write_application
from tests.support.recorder import Recorder

PARTITIONS = 3
FILES = Path(__file__).parents[1] / "gravitee"


def export(bootstrap: str, source: str) -> dict[str, Any]:
    """A Console export of an API with this source."""
    document: dict[str, Any] = json.loads((FILES / "console-export.json").read_text())
    entrypoint = document["api"]["listeners"][0]["entrypoints"][0]
    del entrypoint["dlq"]
    [group, _] = document["api"]["endpointGroups"]
    shared = json.loads(group["sharedConfiguration"])
    shared["consumer"]["topics"] = [source]
    del shared["security"]
    group["sharedConfiguration"] = json.dumps(shared)
    group["endpoints"][0]["configuration"] = json.dumps({"bootstrapServers": bootstrap})
    document["api"]["endpointGroups"] = [group]
    return document


def page(recorder: Recorder, *names: str) -> dict[str, Any]:
    """The management API's answer with these subscriptions."""
    return {
        "data": [
            {
                "id": name,
                "consumerConfiguration": {
                    "entrypointId": "webhook",
                    "entrypointConfiguration": {"callbackUrl": recorder.url(name)},
                },
                "status": "ACCEPTED",
                "consumerStatus": "STARTED",
                "startingAt": "2026-01-01T00:00:00Z",
            }
            for name in names
        ],
        "pagination": {"page": 1, "totalCount": len(names)},
    }


def _written(path: Path, document: object) -> Path:
    path.write_text(json.dumps(document))
    return path


def files_in(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.fixture
async def source(kafka: TestBroker, unique_name: Callable[[str], str]) -> str:
    return await kafka.create_topic(unique_name("orders"), PARTITIONS)


@pytest.fixture
def webhooks(kafka: TestBroker, tmp_path: Path, source: str, recorder: Recorder) -> Webhooks:
    """An application whose definition is the export, with a file of its subscriptions."""
    _written(tmp_path / "subscriptions.json", page(recorder, f"{source}-a", f"{source}-b"))
    return write_application(tmp_path, source, export(kafka.bootstrap, source))


async def take(kafka: TestBroker, group: str, source: str, count: int) -> set[str]:
    """Consume and commit some events like a gateway that then ends. Returns their webhook-ids."""
    taken: set[str] = set()
    consumer = AIOKafkaConsumer(
        source,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        **kafka.connection.client_options(),
    )
    await consumer.start()
    try:
        for _ in range(count):
            record = await consumer.getone()
            await consumer.commit({TopicPartition(source, record.partition): record.offset + 1})
            taken.add(f"{source}-{record.partition}-{record.offset}")
    finally:
        await consumer.stop()
    return taken


async def test_a_migration_neither_repeats_nor_loses_events(
    webhooks: Webhooks, kafka: TestBroker, source: str, recorder: Recorder, tmp_path: Path
) -> None:
    names = [f"{source}-a", f"{source}-b"]
    for number in range(PARTITIONS):
        await kafka.produce(source, *[(b"k", str(each).encode()) for each in range(10)], partition=number)
    done = {name: await take(kafka, name, source, count) for name, count in zip(names, (13, 30), strict=True)}

    folder = tmp_path / "imported"
    files = (webhooks.environment["WEBHOOKS_API"], str(tmp_path / "subscriptions.json"))
    await webhooks.done("import-gravitee", *files, "--output-dir", str(folder), "--from-group", "id")
    here = Webhooks({**webhooks.environment, "WEBHOOKS_API": str(folder / "definition.yaml")})
    await here.done("check")
    await here.done("subscriptions", "apply", str(folder / "subscriptions.yaml"))
    await kafka.produce(source, *[(b"k", b"new")] * 5, partition=1)
    everything = {
        f"{source}-{number}-{offset}" for number in range(PARTITIONS) for offset in range(15 if number == 1 else 10)
    }
    rest = {name: everything - done[name] for name in names}

    async with here.start("worker", "--without-web") as worker:
        await recorder.until_events(sum(map(len, rest.values())))
        assert await worker.stop(signal.SIGTERM) == 0
    assert {name: {call.webhook_id for call in recorder.of(name)} for name in names} == rest
    assert recorder.repeated() == {}
    assert recorder.out_of_order() == []

    # The way back: the gateway continues where this pipeline stopped.
    await kafka.produce(source, *[(b"k", b"newer")] * 4, partition=2)
    await here.done("export-positions", "--to-group", "id")
    newer = {f"{source}-2-{offset}" for offset in range(10, 14)}
    assert [await take(kafka, name, source, 4) for name in names] == [newer, newer]


async def test_no_position_is_imported_while_the_gateway_runs(
    webhooks: Webhooks, kafka: TestBroker, source: str, tmp_path: Path
) -> None:
    folder = tmp_path / "imported"
    files = (webhooks.environment["WEBHOOKS_API"], str(tmp_path / "subscriptions.json"))
    await webhooks.done("import-gravitee", *files, "--output-dir", str(folder), "--from-group", "id")
    here = Webhooks({**webhooks.environment, "WEBHOOKS_API": str(folder / "definition.yaml")})
    await here.done("check")
    await kafka.produce(source, (b"k", b"1"), partition=0)
    await take(kafka, f"{source}-a", source, 1)
    await take(kafka, f"{source}-b", source, 1)
    gateway = AIOKafkaConsumer(source, group_id=f"{source}-b", **kafka.connection.client_options())
    await gateway.start()
    try:
        refused = await here.run("subscriptions", "apply", str(folder / "subscriptions.yaml"))
    finally:
        await gateway.stop()
    assert refused.code == 1
    assert f'group "{source}-b" still has a member' in refused.err
    assert json.loads(await here.done("subscriptions", "list", "--output", "json")) == []


async def test_positions_are_not_exported_while_a_worker_runs(
    webhooks: Webhooks, kafka: TestBroker, source: str, tmp_path: Path
) -> None:
    folder = tmp_path / "imported"
    files = (webhooks.environment["WEBHOOKS_API"], str(tmp_path / "subscriptions.json"))
    await webhooks.done("import-gravitee", *files, "--output-dir", str(folder))
    here = Webhooks({**webhooks.environment, "WEBHOOKS_API": str(folder / "definition.yaml")})
    await here.done("check")
    await here.done("subscriptions", "apply", str(folder / "subscriptions.yaml"))
    gateway = AIOKafkaConsumer(source, group_id=f"{source}-b", **kafka.connection.client_options())
    async with here.start("worker", "--without-web") as worker:
        await worker.line("worker started")
        await gateway.start()
        try:
            refused = await here.run("export-positions", "--to-group", "id", "--to-group", "x=y")
        finally:
            await gateway.stop()
    assert refused.code == 1
    assert refused.err.splitlines() == [
        'Error: --to-group: "x" is not the id of a subscription',
        f'group "{source}" still has members: stop the workers',
        f'group "{source}-b" still has members: stop its consumers',
    ]
    assert await kafka.committed(f"{source}-a", source) == {}


async def test_check_reads_a_gravitee_export_and_reports_like_import(webhooks: Webhooks, tmp_path: Path) -> None:
    # Gravitee has no routing.
    here = Webhooks({**webhooks.environment, "WEBHOOKS_ROUTING": "match"})
    assert "ok  fields of the definition without effect: apiMedia, export, " in await here.done("check")
    document = export("127.0.0.1:1", "orders")
    document["api"]["flows"] = [{"subscribe": [{"policy": "message-filtering"}]}]
    path = str(_written(tmp_path / "export.json", document))
    here = Webhooks({**here.environment, "WEBHOOKS_API": path})
    checked, taken = await here.run("check"), await here.run("import-gravitee", path)
    assert (checked.code, taken.code) == (1, 1)
    assert "flows[0].subscribe[0]: Gravitee applies the policy" in checked.err
    assert checked.err == taken.err


async def test_imported_files_are_private_and_never_replaced(webhooks: Webhooks, tmp_path: Path) -> None:
    arguments = ("import-gravitee", "-", "--output-dir", str(tmp_path / "out"))
    text = (FILES / "terraform-show.json").read_bytes()
    said = await webhooks.done(*arguments, stdin=text)
    assert f"wrote     {tmp_path / 'out' / 'definition.yaml'}, mode 0600" in said.splitlines()
    written = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in written] == ["definition.yaml", "subscriptions.yaml"]
    assert [stat.S_IMODE(path.stat().st_mode) for path in written] == [0o600, 0o600]
    assert "k4fka-s3cret" in written[0].read_text()
    again = await webhooks.run(*arguments, stdin=text)
    assert again.code == 1
    assert (
        again.err
        == "Error: " + "\n".join(f"{path}: exists; remove it, or name another folder" for path in written) + "\n"
    )


async def test_without_output_dir_the_terminal_shows_masked_secrets(webhooks: Webhooks, tmp_path: Path) -> None:
    before = files_in(tmp_path)
    shown = await webhooks.run("import-gravitee", str(FILES / "console-export.json"), str(FILES / "subscriptions.json"))
    assert shown.code == 0
    assert "routing: match" in shown.out
    assert "s3cret" not in shown.out + shown.err
    assert files_in(tmp_path) == before
    for wrong in ("--from-group=x", "--accept-ignored=x"):
        assert (await webhooks.run("import-gravitee", "-", wrong)).code == 2
