"""The decisions of `webhooks cluster`: number, ports and directories of workers, pauses, format of lines."""

import asyncio
import io
import json
import socket
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from pipeline.cli.supervisor.log_lines import LogLines
from pipeline.cli.supervisor.machine import core_count, plan
from pipeline.cli.supervisor.supervisor import LONGEST_PAUSE_SECONDS, SOUND_SECONDS, Pauses
from pipeline.config.settings import Settings
from pipeline.core.errors import ConfigurationError
from pipeline.observability.logs import LogFormat
from tests.support.free_ports import free_ports


def settings(port: int) -> Settings:
    return Settings(
        api="api.yaml", secret_keys=Fernet.generate_key().decode(), web_port=port, data_dir="/var/lib/webhooks"
    )


def test_each_worker_has_its_own_port_and_folder() -> None:
    port = free_ports(3)

    members = plan(settings(port), 3)

    assert [member.name for member in members] == ["worker-1", "worker-2", "worker-3"]
    assert [member.environment["WEBHOOKS_WEB_PORT"] for member in members] == [str(port + n) for n in range(3)]
    assert {member.environment["WEBHOOKS_DATA_DIR"] for member in members} == {
        f"/var/lib/webhooks/worker-{number}" for number in (1, 2, 3)
    }
    assert [member.page for member in members] == [f"http://127.0.0.1:{port + n}/" for n in range(3)]


def test_each_worker_has_its_own_id_if_an_id_is_set() -> None:
    without = settings(free_ports(2))

    assert all("WEBHOOKS_INSTANCE_ID" not in member.environment for member in plan(without, 2))
    members = plan(without.model_copy(update={"instance_id": "host-1"}), 2)
    assert [member.environment["WEBHOOKS_INSTANCE_ID"] for member in members] == ["host-1-worker-1", "host-1-worker-2"]


def test_a_taken_port_is_reported_before_anything_starts() -> None:
    port = free_ports(2)
    with (
        socket.create_server(("127.0.0.1", port + 1)),
        pytest.raises(ConfigurationError, match=f":{port + 1} can't be"),
    ):
        plan(settings(port), 2)


def test_ports_beyond_the_last_one_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="2 workers from port 65535 on need ports above 65535"):
        plan(settings(65_535), 2)


@pytest.mark.parametrize(
    ("quota", "most"), [("150000 100000", 1), ("50000 100000", 1), ("max 100000", None), ("6400000 100000", None)]
)
def test_the_number_of_workers_follows_a_container_s_cpu_limit(tmp_path: Path, quota: str, most: int | None) -> None:
    (tmp_path / "cpu.max").write_text(f"{quota}\n")

    assert core_count(tmp_path / "cpu.max") == (most or core_count(tmp_path / "missing"))


def test_restart_pauses_grow_until_a_worker_runs_for_long() -> None:
    pauses = Pauses()

    assert [pauses.after(0.0) for _ in range(7)] == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, LONGEST_PAUSE_SECONDS]
    assert [pauses.after(SOUND_SECONDS), pauses.after(0.0)] == [1.0, 2.0]


async def copied(log_format: LogFormat, output: bytes) -> list[str]:
    reader, out = asyncio.StreamReader(limit=64), io.StringIO()
    reader.feed_data(output)
    reader.feed_eof()
    await LogLines(out, log_format).copy("worker-2", reader)
    return out.getvalue().splitlines()


async def test_a_console_line_begins_with_the_name_of_its_worker() -> None:
    assert await copied("console", b"one\n\nt\x1b[31mwo\r\nno end") == [
        "worker-2 | one",
        "worker-2 | t\\x1b[31mwo",
        "worker-2 | no end",
    ]


async def test_a_json_line_has_a_field_with_the_name_of_its_worker() -> None:
    lines = await copied("json", b'{"message": "a", "n": 1, "worker": "x"}\nFatal Python error\n[1]\n')

    assert [json.loads(line) for line in lines] == [
        {"message": "a", "n": 1, "worker": "worker-2"},
        {"message": "Fatal Python error", "worker": "worker-2"},
        {"message": "[1]", "worker": "worker-2"},
    ]


async def test_a_line_without_an_end_is_split_and_not_lost() -> None:
    lines = await copied("console", b"x" * 1000 + b"\nnext\n")

    assert "".join(line.removeprefix("worker-2 | ") for line in lines[:-1]) == "x" * 1000
    assert lines[-1] == "worker-2 | next"


class Closed(io.StringIO):
    """A log whose reader has closed it."""

    def write(self, _: str) -> int:
        raise BrokenPipeError


async def test_workers_continue_when_the_log_is_closed() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(b"one\ntwo\n")
    reader.feed_eof()

    await LogLines(Closed(), "console").copy("worker-1", reader)

    assert reader.at_eof()
