"""A worker refuses to start if a patch of a library has no effect."""

from importlib.metadata import version
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import aiohttp.connector
import pytest
from aiokafka.consumer import fetcher
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import NoError
from aiokafka.producer import sender
from aiokafka.record.memory_records import MemoryRecords
from click.testing import CliRunner
from cryptography.fernet import Fernet

from pipeline import worker
from pipeline.cli import check
from pipeline.cli.command_group import CommandGroup
from pipeline.cli.dev.run import run
from pipeline.config.settings import Settings
from pipeline.core.errors import LibraryError
from pipeline.core.patches import Patch, check_patches, looks_up
from pipeline.http.connection import Wire
from pipeline.kafka.internals import BeginSoon
from pipeline.kafka.records import PartitionRecords

LOOKED_AT = {
    "aiohttp.client_proto:ResponseHandler.connection_lost": "ResponseHandler._parser",
    "aiokafka.consumer.fetcher:Fetcher._update_fetch_positions": "Fetcher._set_error",
    "aiokafka.consumer.fetcher:Fetcher._proc_fetch_request": "its record parser",
    "aiokafka.consumer.fetcher:Fetcher._fetch_requests_routine": "Fetcher._proc_fetch_request",
    "aiokafka.consumer.group_coordinator:GroupCoordinator._do_heartbeat": "GroupCoordinator._send_req",
    "aiokafka.consumer.group_coordinator:CoordinatorGroupRebalance._send_sync_group_request": (
        "GroupCoordinator._send_req"
    ),
    "aiokafka.producer.sender:Sender._do_add_partitions_to_txn": "AddPartitionsToTxnHandler",
    "aiokafka.admin:AIOKafkaAdminClient._get_cluster_metadata": "AIOKafkaAdminClient._send_request",
    "aiokafka.client:AIOKafkaClient.send": "AIOKafkaConnection.send",
    "aiokafka.client:AIOKafkaClient._md_synchronizer": "AIOKafkaClient._metadata_update",
    "aiokafka:AIOKafkaConsumer.start": "AIOKafkaConsumer._isolation_level",
    "aiokafka:AIOKafkaProducer.stop": "AIOKafkaProducer._sender",
    "faust:App.transport": "App._new_transport",
    "faust.tables.recovery:Recovery.on_recovery_completed": "App.flow_control",
    "faust.transport.base:Transport.create_consumer": "Transport.Consumer",
    "faust.transport.consumer:ThreadDelegateConsumer.__init__": "Consumer._new_consumer_thread",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread.__post_init__": "Consumer.RebalanceListener",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._create_consumer": "_create_worker_consumer",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread.getmany": "AIOKafkaConsumerThread._fetch_records",
    "faust.assignor:PartitionAssignor._assign": "PartitionAssignor._perform_assignment",
    "faust.assignor:PartitionAssignor._perform_assignment": "PartitionAssignor._protocol_assignments",
    "faust.web.drivers.aiohttp:Web._new_transport_tcp": "Web._runner",
    "aiohttp.web:TCPSite.start": "AppRunner.server",
    "aiohttp.web:RequestHandler.data_received": "RequestHandler._messages",
    "aiohttp.web:RequestHandler._handle_request": "RequestHandler._current_request",
    "aiohttp.connector:TCPConnector._create_direct_connection": "TCPConnector._factory",
    "aiohttp.connector:TCPConnector._start_tls_connection": "TCPConnector._factory",
    "python_socks.async_.asyncio:Proxy._connect": "Proxy.connect",
}
"""The name of a patch by each library function that the patch depends on."""


async def elsewhere(*_arguments: Any, **_named: Any) -> None:
    """A function that a new version of a library might have instead of the current one."""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings whose definition does not exist. A worker that passes the check of patches ends with the error about
    that."""
    monkeypatch.setenv("WEBHOOKS_API", str(tmp_path / "api.json"))
    monkeypatch.setenv("WEBHOOKS_SECRET_KEYS", Fernet.generate_key().decode())
    return Settings()


def refusal(settings: Settings) -> str:
    """The error with which a worker refuses to start."""
    with pytest.raises(LibraryError) as caught:
        worker.create_worker_app(settings)
    return str(caught.value)


def test_all_patches_take_effect_in_the_installed_versions() -> None:
    check_patches(worker.PATCHES)


@pytest.mark.parametrize("function", LOOKED_AT)
def test_a_library_function_that_changed_is_detected(
    function: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, _, name = function.rpartition(".")
    monkeypatch.setattr(resolve_name(place), name, elsewhere)
    assert f"{LOOKED_AT[function]} has no effect" in refusal(settings)


@pytest.mark.parametrize("function", LOOKED_AT)
def test_a_missing_library_function_is_detected(
    function: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, _, name = function.rpartition(".")
    monkeypatch.delattr(resolve_name(place), name)
    assert f"{LOOKED_AT[function]} has no effect" in refusal(settings)


def test_the_check_of_every_patch_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    for function in LOOKED_AT:
        place, _, name = function.rpartition(".")
        monkeypatch.setattr(resolve_name(place), name, elsewhere)
    monkeypatch.setattr(fetcher, "PartitionRecords", PartitionRecords.__base__)
    monkeypatch.setattr(sender, "AddPartitionsToTxnHandler", BeginSoon.__base__)
    monkeypatch.setattr(Wire, "_has_enough", lambda _: False)
    assert [patch.name for patch in worker.PATCHES if takes(patch)] == []


def takes(patch: Patch) -> bool:
    try:
        check_patches([patch])
    except LibraryError:
        return False
    return True


def test_an_unpatched_parser_is_detected(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetcher, "PartitionRecords", PartitionRecords.__base__)
    said = refusal(settings)
    assert said.startswith(f"aiokafka {version('aiokafka')}: the patch of its record parser has no effect")
    assert said.endswith(
        "so a header name that is not UTF-8 stops its partition; install the version that requirements.lock names"
    )
    assert "UnicodeDecodeError" in said


def test_unpatched_batches_are_detected(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetcher, "MemoryRecords", MemoryRecords)
    assert "its record parser has no effect" in refusal(settings)


def test_heartbeats_that_renew_no_lease_are_detected(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    async def beat(coordinator: Any) -> bool:
        coordinator._send_req  # noqa: B018 - only looks up the name
        return bool(NoError)

    monkeypatch.setattr(GroupCoordinator, "_do_heartbeat", beat)
    assert "GroupCoordinator._send_req has no effect, so no lease is renewed" in refusal(settings)


def test_transactions_begun_by_aiokafka_itself_are_detected(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "AddPartitionsToTxnHandler", BeginSoon.__base__)
    assert "AddPartitionsToTxnHandler has no effect, so each at-most-once claim takes 20 ms" in refusal(settings)


def test_connections_without_a_limit_are_detected(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Wire, "_payload", property(lambda _: None, lambda *_: None), raising=False)
    assert "ResponseHandler._payload has no effect, so the size of an answer has no limit" in refusal(settings)


def test_unpatched_connections_are_detected(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    own = aiohttp.connector.TCPConnector._create_direct_connection

    async def plain(connector: Any, *arguments: Any, **named: Any) -> Any:
        return await own(connector, *arguments, **named)

    monkeypatch.setattr(aiohttp.connector.TCPConnector, "_create_direct_connection", plain)
    assert "TCPConnector._factory has no effect, so bytes on an idle connection" in refusal(settings)


def test_all_missing_patches_are_reported_at_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetcher, "PartitionRecords", PartitionRecords.__base__)
    monkeypatch.setattr(sender, "AddPartitionsToTxnHandler", BeginSoon.__base__)
    assert [line.split(":")[0] for line in refusal(settings).splitlines()] == [f"aiokafka {version('aiokafka')}"] * 2


def test_faust_s_own_command_refuses_to_start_without_patches(
    settings: Settings,  # noqa: ARG001 - the environment
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sender, "AddPartitionsToTxnHandler", BeginSoon.__base__)
    with pytest.raises(SystemExit, match=r"^aiokafka .* has no effect"):
        worker.app  # noqa: B018 - the access of `faust -A pipeline.worker`


def test_the_check_command_reports_a_missing_patch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "AddPartitionsToTxnHandler", BeginSoon.__base__)
    result = CliRunner().invoke(CommandGroup("webhooks", {"check": check.command}), ["check"])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: aiokafka {version('aiokafka')}: the patch of AddPartitions")


def test_webhooks_dev_refuses_to_start_without_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "AddPartitionsToTxnHandler", BeginSoon.__base__)
    with pytest.raises(LibraryError, match="AddPartitionsToTxnHandler has no effect"):
        run(web_port=None, receiver_port=None, verbose=False, say=print)


def test_names_used_in_inner_functions_and_properties_are_found() -> None:
    assert looks_up(f"{__name__}:Outer.inner", "upper", "lower")()
    assert not looks_up(f"{__name__}:Outer.inner", "upper", "title")()


class Outer:
    @property
    def inner(self) -> list[str]:
        return [text.upper() for text in map(lambda text: text.lower(), "ab")]  # noqa: C417 - two functions within one
