"""Runs Helm on the chart in deploy/chart, if Helm is installed."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

ROOT: Final = Path(__file__).parents[2]
CHART: Final = ROOT / "deploy" / "chart"
HELM: Final = os.environ.get("WEBHOOKS_TEST_HELM") or shutil.which("helm")
"""The path of Helm, which `.ci/tools` builds."""

with_helm: Final = pytest.mark.skipif(HELM is None, reason="needs helm (WEBHOOKS_TEST_HELM)")

Values = Mapping[str, Any]
Document = dict[str, Any]

LEAST: Final[Values] = {"definition": {"existingConfigMap": "definition"}}


def helm(folder: Path, *arguments: str, values: Values | None = None) -> subprocess.CompletedProcess[str]:
    """Run Helm, with *folder* as the directory for its files. With values, it renders for Kubernetes 1.31."""
    assert HELM is not None
    command = [HELM, *arguments]
    if values is not None:
        (folder / "values.json").write_text(json.dumps(values))
        command += ["--values", str(folder / "values.json"), "--kube-version", "1.31.0"]
    homes = {f"HELM_{name}_HOME": str(folder) for name in ("CACHE", "CONFIG", "DATA")}
    return subprocess.run(command, env=homes, capture_output=True, text=True, check=False)


def documents(folder: Path, values: Values, chart: Path = CHART) -> dict[str, Document]:
    """The objects that `helm template` makes for a release `deliver`, by kind and name, such as `Service/deliver`."""
    done = helm(folder, "template", "deliver", str(chart), values=values)
    assert done.returncode == 0, done.stderr
    made = [each for each in yaml.safe_load_all(done.stdout) if each is not None]
    return {f"{each['kind']}/{each['metadata']['name']}": each for each in made}
