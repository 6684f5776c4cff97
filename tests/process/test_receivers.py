"""The examples of docs/receivers.md accept the requests that this pipeline has signed, and no others.

Each example runs in its own language. Examples in languages that this machine lacks are skipped.
"""

import base64
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from pipeline.http.signature import Signer

pytestmark = pytest.mark.timeout(300)
"""A long limit, because the first build in Go compiles Go's standard library."""

ROOT: Final = Path(__file__).parents[2]
EXAMPLES: Final = ROOT / "docs" / "receivers"
PROGRAMS: Final = ROOT / "tests" / "support" / "receivers"

ID: Final = "orders-0-41"
BODY: Final = '{"total": "12 €"}'
KEY: Final = bytes(range(24, 56))
SECRET: Final = f"whsec_{base64.b64encode(KEY).decode()}"
OTHER: Final = f"whsec_{base64.b64encode(bytes(32)).decode()}"
SEED: Final = f"whsk_{base64.b64encode(KEY).decode()}"


def python(_: Path) -> Sequence[str]:
    return [sys.executable, str(PROGRAMS / "main.py"), str(EXAMPLES / "verify.py")]


def node(_: Path) -> Sequence[str]:
    return ["node", str(PROGRAMS / "main.mjs"), str(EXAMPLES / "verify.mjs")]


def php(_: Path) -> Sequence[str]:
    return ["php", str(PROGRAMS / "main.php"), str(EXAMPLES / "verify.php")]


def go(folder: Path) -> Sequence[str]:
    (folder / "webhook").mkdir()
    shutil.copy(EXAMPLES / "verify.go", folder / "webhook")
    shutil.copy(PROGRAMS / "main.go", folder)
    (folder / "go.mod").write_text("module receiver\n\ngo 1.19\n")
    subprocess.run(["go", "build", "-o", "verify", "."], cwd=folder, check=True)
    return [str(folder / "verify")]


def java(folder: Path) -> Sequence[str]:
    sources = [str(EXAMPLES / "Webhook.java"), str(PROGRAMS / "Main.java")]
    subprocess.run(["javac", "-encoding", "UTF-8", "-d", str(folder), *sources], check=True)
    return ["java", "-cp", str(folder), "Main"]


LANGUAGES: Final = {"python": python, "node": node, "php": php, "go": go, "javac": java}


def signed(*secrets: str, at: float, webhook_id: str = ID, body: str = BODY) -> tuple[str, str, str]:
    """The values of the three headers that a worker sends with *body*: webhook-id, timestamp, signature."""
    timestamp = int(at)
    signature = Signer.from_secrets(secrets).signature(webhook_id, timestamp, body.encode())
    return webhook_id, str(timestamp), signature


def requests() -> dict[str, tuple[bool, tuple[str, ...]]]:
    """Requests by description: whether an example must accept it; and its secret, three headers and body."""
    now = time.time()
    fresh = webhook_id, timestamp, signature = signed(SECRET, at=now)
    return {
        "as it was sent": (True, (SECRET, *fresh, BODY)),
        "a secret without padding": (True, (SECRET.rstrip("="), *fresh, BODY)),
        "the second of two secrets": (True, (SECRET, *signed(OTHER, SECRET, at=now), BODY)),
        "beside a signature of another kind": (True, (SECRET, *signed(SEED, SECRET, at=now), BODY)),
        "an empty body": (True, (SECRET, *signed(SECRET, at=now, body=""), "")),
        "another secret": (False, (OTHER, *fresh, BODY)),
        "another id": (False, (SECRET, "orders-0-42", timestamp, signature, BODY)),
        "another time": (False, (SECRET, webhook_id, str(int(timestamp) + 1), signature, BODY)),
        "another body": (False, (SECRET, *fresh, BODY.replace("12", "13"))),
        "an hour ago": (False, (SECRET, *signed(SECRET, at=now - 3600), BODY)),
        "in an hour": (False, (SECRET, *signed(SECRET, at=now + 3600), BODY)),
        "no time": (False, (SECRET, webhook_id, "", signature, BODY)),
        "a time that is no number": (False, (SECRET, webhook_id, f"{timestamp}e0", signature, BODY)),
        "a time without end": (False, (SECRET, webhook_id, "9" * 5000, signature, BODY)),
        "no signature": (False, (SECRET, webhook_id, timestamp, "", BODY)),
        "nothing but a version": (False, (SECRET, webhook_id, timestamp, "v1,", BODY)),
        "not in ASCII": (False, (SECRET, webhook_id, timestamp, "v1,é", BODY)),
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_example_accepts_only_signed_requests(language: str, tmp_path: Path) -> None:
    if language != "python" and shutil.which(language) is None:
        pytest.skip(f"needs {language}")
    program = LANGUAGES[language](tmp_path)

    asked = requests()
    lines = "".join("\t".join(request) + "\n" for _, request in asked.values())
    ended = subprocess.run(program, input=lines, check=True, capture_output=True, text=True, encoding="utf-8")

    answers = dict(zip(asked, ended.stdout.split(), strict=True))
    assert answers == {name: str(is_genuine).lower() for name, (is_genuine, _) in asked.items()}


def test_the_document_shows_the_unchanged_examples() -> None:
    text = (ROOT / "docs" / "receivers.md").read_text()
    examples = sorted(EXAMPLES.iterdir())

    assert len(examples) == len(LANGUAGES)
    assert [path.name for path in examples if f"\n{path.read_text()}```\n" not in text] == []
