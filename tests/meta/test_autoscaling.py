"""The ScaledObject counts old events that no worker has dispatched: promtool evaluates its query on made-up series."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.support.charts import LEAST, documents, with_helm

PROMTOOL: Final = os.environ.get("WEBHOOKS_TEST_PROMTOOL") or shutil.which("promtool")
END: Final = "webhooks_end_offset"
DISPATCHED: Final = "webhooks_dispatched_offset"


def series(metric: str, pod: str, partition: int = 0) -> str:
    return f'{metric}{{namespace="default",pod="{pod}",topic="t",partition="{partition}"}}'


@with_helm
@pytest.mark.skipif(PROMTOOL is None, reason="needs promtool, of Prometheus (WEBHOOKS_TEST_PROMTOOL)")
@pytest.mark.parametrize(
    ("given", "undispatched"),
    [
        pytest.param(
            {series(END, "deliver-0"): "100+100x20", series(DISPATCHED, "deliver-0"): "100+100x20"}, 0, id="no backlog"
        ),
        pytest.param(
            {series(END, "deliver-0"): "0x19 5000", series(DISPATCHED, "deliver-0"): "0x20"}, 0, id="only new events"
        ),
        pytest.param(
            {
                series(END, "deliver-0"): "5000x20",
                series(DISPATCHED, "deliver-0"): "0+100x20",
                series(END, "deliver-1", 1): "700x20",
                series(DISPATCHED, "deliver-1", 1): "0x20",
            },
            3000 + 700,
            id="old events of two partitions",
        ),
        pytest.param(
            {
                series(END, "deliver-0"): "5000x18 stale",
                series(DISPATCHED, "deliver-0"): "0x18 stale",
                series(END, "deliver-1"): "_x19 5000",
                series(DISPATCHED, "deliver-1"): "_x19 1000",
            },
            4000,
            id="a partition that has moved",
        ),
        pytest.param(
            {series(END, "deliver-0"): "5000x20", series(DISPATCHED, "deliver-0"): "0x20 _"},
            5000,
            id="one sample missing",
        ),
        pytest.param(
            {series(END, "deliver-again-0"): "5000x20", series(DISPATCHED, "deliver-again-0"): "0x20"},
            None,
            id="another release",
        ),
    ],
)
def test_autoscaling_counts_old_undispatched_events(
    tmp_path: Path, given: Mapping[str, str], undispatched: int | None
) -> None:
    made = documents(tmp_path, {**LEAST, "autoscaling": {"enabled": True, "undispatchedSeconds": 30}})
    [query] = [
        each["metadata"]["query"]
        for each in made["ScaledObject/deliver"]["spec"]["triggers"]
        if each["name"] == "undispatched-events"
    ]
    samples = [] if undispatched is None else [{"labels": "{}", "value": undispatched}]
    case = {
        "interval": "15s",
        "input_series": [{"series": name, "values": values} for name, values in given.items()],
        "promql_expr_test": [{"expr": query, "eval_time": "5m", "exp_samples": samples}],
    }
    path = tmp_path / "tests.yaml"
    path.write_text(yaml.safe_dump({"rule_files": [], "evaluation_interval": "15s", "tests": [case]}))
    ended = subprocess.run([str(PROMTOOL), "test", "rules", str(path)], check=False, capture_output=True, text=True)

    assert ended.returncode == 0, ended.stdout + ended.stderr
