"""Runs the commands of the documents, unchanged, on a real Kafka."""

import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.brokers import TestBroker
from tests.support.document_commands import WALKED, Command, File, Printed, Step, shell, steps
from tests.support.free_ports import free_port
from tests.support.program import clean_environment

ROOT: Final = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The directory of a reader, with the repository's deploy/ and Kafka's tool that writes events."""
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    tool = tmp_path / "bin" / "kafka-console-producer.sh"
    tool.parent.mkdir()
    stand_in = ROOT / "tests" / "support" / "console_producer.py"
    tool.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(stand_in))} "$@"\n')
    tool.chmod(0o755)
    return tmp_path


def walk(names: dict[str, str]) -> Iterator[Step]:
    """The steps of the documents, with the names of this run."""
    text = "\n".join((ROOT / document).read_text() for document in WALKED)
    return steps(re.sub(rf"(?<![\w-])(?:{'|'.join(names)})\b", lambda found: names[found[0]], text))


async def test_the_commands_of_the_documents_work_as_shown(
    kafka: TestBroker, folder: Path, unique_name: Callable[[str], str]
) -> None:
    port = str(free_port())
    names = {"kafka:9092": kafka.bootstrap, "orders": unique_name("orders"), "6066": port, "8080": str(free_port())}
    own = {"WEBHOOKS_APP": unique_name("reader"), "WEBHOOKS_WEB_PORT": port}
    environment = clean_environment(own)
    environment["PATH"] = f"{Path(sys.executable).parent}:{folder / 'bin'}:{environment['PATH']}"

    async with shell(folder, environment) as bash:
        for step in walk({**names, "sub-1": "french-orders"}):
            match step:
                case File(name, text):
                    (folder / name).write_text(text)
                case Printed():
                    await bash.sees(step)
                case Command():
                    print(step.text, step.not_run or await bash.run(step), sep="\n")
