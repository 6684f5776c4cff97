"""The hosted workflow runs the checks of .ci/run on each supported Python, with read rights and pinned actions."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILE = ROOT / ".github/workflows/ci.yaml"
WORKFLOW: dict[Any, Any] = yaml.safe_load(FILE.read_text())
JOB = WORKFLOW["jobs"]["test"]
ACTIONLINT = os.environ.get("WEBHOOKS_TEST_ACTIONLINT") or shutil.which("actionlint")


def test_each_supported_python_has_a_run() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    prefix = "Programming Language :: Python :: "
    promised = [each.removeprefix(prefix) for each in project["classifiers"] if re.fullmatch(prefix + r"3\.\d+", each)]
    assert JOB["strategy"]["matrix"]["python"] == promised
    assert project["requires-python"] == f">={promised[0]}"


def test_the_workflow_runs_the_whole_check_on_a_kafka() -> None:
    [step] = [each for each in JOB["steps"] if "run" in each]
    assert step["run"] == ".ci/run"
    assert step["env"]["WEBHOOKS_TEST_KAFKA"] == "127.0.0.1:9092"
    compose = (ROOT / "deploy/compose.yaml").read_text()
    assert f"image: ${{KAFKA_IMAGE:-{JOB['services']['kafka']['image']}}}" in compose


def test_the_workflow_has_only_read_permissions() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert "permissions" not in JOB
    assert "secrets." not in FILE.read_text()


def test_actions_are_pinned_by_commit_with_their_version() -> None:
    used = re.findall(r"uses: (.*)", FILE.read_text())
    assert len(used) == 2
    for each in used:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each), each


@pytest.mark.skipif(ACTIONLINT is None, reason="needs actionlint (WEBHOOKS_TEST_ACTIONLINT)")
def test_actionlint_finds_no_problem() -> None:
    ended = subprocess.run([str(ACTIONLINT), str(FILE)], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "")
