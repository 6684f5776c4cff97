"""Alerts and dashboard use metrics that exist. Each alert fires when it should, and links to instructions."""

import asyncio
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from pipeline.observability.prometheus import Metrics
from pipeline.observability.status import EVERY_LANE, LaneFilter, LaneReport, PartitionReport, WorkerReport
from pipeline.observability.telemetry import Telemetry
from tests.support.charts import CHART, LEAST, ROOT, documents, with_helm

ALERTS: Final = CHART / "files" / "alerts.yaml"
DASHBOARD: Final = CHART / "files" / "grafana-dashboard.json"
PROMTOOL: Final = os.environ.get("WEBHOOKS_TEST_PROMTOOL") or shutil.which("promtool")
"""The path of promtool, which is in Debian's package prometheus; None: tests that need promtool are skipped."""

# promtool opens a database for each case.
pytestmark = pytest.mark.timeout(300)

NAME: Final = re.compile(r"\b(?:webhooks|process)_[a-z_]+")
ABSENT: Final = "WebhooksDown"

FIRES: Final[dict[str, dict[str, str]]] = {
    "WebhooksNotReady": {"webhooks_ready": "0x60"},
    "WebhooksLeaseLost": {"webhooks_lease_held": "0x60"},
    "WebhooksEventsDeleted": {'webhooks_dropped_total{rule="retention"}': "0x50 7x10"},
    "WebhooksEventsOld": {'webhooks_oldest_unsettled_seconds{topic="t",partition="0"}': "21700+60x60"},
    "WebhooksSubscriptionsFailed": {'webhooks_lanes{state="halted",status="failure"}': "1x60"},
    "WebhooksManySubscriptionsFailed": {'webhooks_subscription_failures_total{kind="exception"}': "0x55 400x5"},
    "WebhooksDeadLettersNotWritten": {"webhooks_dead_letter_failures_total": "0+1x60"},
    "WebhooksManyDeadLetters": {
        'webhooks_dead_letters_total{reason="rejected"}': "0+10x60",
        'webhooks_deliveries_total{outcome="delivered"}': "0+90x60",
        'webhooks_deliveries_total{outcome="dead-lettered"}': "0+10x60",
    },
    "WebhooksEventsDropped": {'webhooks_dropped_total{rule="given-up"}': "0x50 1x10"},
    "WebhooksSlow": {
        'webhooks_end_to_end_seconds_bucket{le="60.0"}': "0+1x60",
        'webhooks_end_to_end_seconds_bucket{le="300.0"}': "0+9x60",
        'webhooks_end_to_end_seconds_bucket{le="+Inf"}': "0+9x60",
    },
    "WebhooksSlotsExhausted": {'webhooks_throttled_total{reason="slots"}': "0+120x60"},
    "WebhooksPartitionClosed": {'webhooks_partition_open{topic="t",partition="3"}': "0x60"},
    "WebhooksLogBroken": {'webhooks_log_breaks_total{kind="recreated"}': "0x50 1x10"},
    "WebhooksTokensUnavailable": {'webhooks_token_fetches_total{result="unavailable"}': "0+2x60"},
    "WebhooksRebalancing": {"webhooks_rebalances_total": "0+1x60"},
    "WebhooksAttemptLogIncomplete": {"webhooks_attempt_log_dropped_total": "0x50 9x10"},
}
"""For each alert, series that make it fire, with a value for each minute. `0x60` is 0 and sixty repetitions of 0."""

WELL: Final = {
    "webhooks_ready": "1x60",
    "webhooks_lease_held": "1x60",
    'webhooks_dropped_total{rule="retention"}': "0x60",
    'webhooks_dropped_total{rule="skipped"}': "0+1x60",
    'webhooks_oldest_unsettled_seconds{topic="t",partition="0"}': "3x60",
    'webhooks_lanes{state="halted",status="failure"}': "0x20 3x20 0x20",
    'webhooks_lanes{state="live",status="started"}': "9x60",
    'webhooks_subscription_failures_total{kind="exception"}': "0x20 3x40",
    "webhooks_dead_letter_failures_total": "0x60",
    'webhooks_dead_letters_total{reason="rejected"}': "0+1x60",
    'webhooks_deliveries_total{outcome="delivered"}': "0+99x60",
    'webhooks_end_to_end_seconds_bucket{le="60.0"}': "0+99x60",
    'webhooks_end_to_end_seconds_bucket{le="+Inf"}': "0+100x60",
    'webhooks_throttled_total{reason="rate"}': "0+120x60",
    'webhooks_throttled_total{reason="slots"}': "0+1x60",
    'webhooks_partition_open{topic="t",partition="3"}': "0 0 1x58",
    'webhooks_log_breaks_total{kind="recreated"}': "0x60",
    'webhooks_token_fetches_total{result="ok"}': "0+2x60",
    'webhooks_token_fetches_total{result="refused"}': "0x60",
    "webhooks_rebalances_total": "0 1 2x58",
    "webhooks_attempt_log_dropped_total": "0x60",
}
"""The series of a healthy worker."""


def rules() -> list[dict[str, Any]]:
    [group] = yaml.safe_load(ALERTS.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


class OneWorker:
    """A reporter of a worker with one partition."""

    def worker(self) -> WorkerReport:
        partition = PartitionReport("t", 0, True, 0, 0, 0, 0, 0.0, 0, False, 0.0)  # noqa: FBT003 - values without meaning here
        return WorkerReport("app", "host:1", ("t",), 1, True, None, True, (0,), (partition,), 0, 0, 0, 0, 5.0)  # noqa: FBT003 - as above

    async def lanes(self, wanted: LaneFilter = EVERY_LANE) -> list[LaneReport]:  # noqa: ARG002 - there are none
        return []

    async def absent(self, wanted: LaneFilter = EVERY_LANE) -> list[str]:  # noqa: ARG002 - as above
        return []

    def absent_one(self, subscription: str) -> None:  # noqa: ARG002 - as above
        return None


def exposed() -> set[str]:
    """The series of a worker that has just started."""
    text, _ = asyncio.run(Metrics(OneWorker(), Telemetry()).render(""))
    return {re.split(r"[{ ]", line)[0] for line in text.decode().splitlines() if not line.startswith("#")}


def test_alerts_and_dashboard_use_existing_metrics() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    asked = [rule["expr"] for rule in rules()]
    asked += [target["expr"] for panel in panels for target in panel.get("targets", ())]
    named = {name for expression in asked for name in NAME.findall(expression)}

    assert len(named) > 30
    assert named - exposed() == set()


def test_the_dashboard_shows_every_metric() -> None:
    # The dashboard shows only the buckets of histograms.
    own = {
        name for name in exposed() if name.startswith("webhooks_") and not name.endswith(("_sum", "_count", "_created"))
    }
    assert (
        own - set(NAME.findall(DASHBOARD.read_text())) - {"webhooks_subscriptions", "webhooks_committed_offset"}
        == set()
    )


def test_every_alert_links_to_its_section_of_the_document() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    sections = re.findall(r"^### (Webhooks\w+)$", text, re.MULTILINE)

    assert sections == [rule["alert"] for rule in rules()]
    for rule in rules():
        assert rule["annotations"]["runbook_url"] == f"docs/operations.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}


def test_every_alert_has_a_test() -> None:
    assert {rule["alert"] for rule in rules()} == {*FIRES, ABSENT}


with_promtool: Final = pytest.mark.skipif(
    PROMTOOL is None, reason="needs promtool, of Prometheus (WEBHOOKS_TEST_PROMTOOL)"
)


@with_promtool
def test_each_alert_fires_when_it_should_and_not_otherwise(tmp_path: Path) -> None:
    cases = [_case(alert, series, fires=True) for alert, series in FIRES.items()]
    cases += [_case(rule["alert"], WELL, fires=False) for rule in rules()]
    cases.append(_case(ABSENT, {}, fires=True, is_there=False))

    _hold(tmp_path, ALERTS, cases)


@with_promtool
@with_helm
def test_the_alerts_of_one_release_cover_only_its_workers(tmp_path: Path) -> None:
    made = documents(tmp_path, {**LEAST, "prometheusRule": {"enabled": True}})["PrometheusRule/deliver"]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(made["spec"]))

    own, other = 'namespace="default",pod="deliver-1"', 'namespace="default",pod="deliver-again-1"'
    cases = [_case(alert, series, own, fires=True) for alert, series in FIRES.items()]
    cases += [_case(alert, series, other, fires=False) for alert, series in FIRES.items()]
    cases += [_case(ABSENT, {}, own, fires=False), _case(ABSENT, {}, other, fires=True)]

    _hold(tmp_path, path, cases)


def _hold(folder: Path, rule_file: Path, cases: list[dict[str, object]]) -> None:
    """Fail unless promtool agrees with every case."""
    assert PROMTOOL is not None
    path = folder / "tests.yaml"
    path.write_text(yaml.safe_dump({"rule_files": [str(rule_file)], "evaluation_interval": "1m", "tests": cases}))
    ended = subprocess.run([PROMTOOL, "test", "rules", str(path)], check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def _case(
    alert: str, series: dict[str, str], labels: str = "", *, fires: bool, is_there: bool = True
) -> dict[str, object]:
    """A case for promtool: whether the alert fires at the end of the series, which all have *labels*."""
    series = {**series, "webhooks_build_info": "1x60"} if is_there else series
    firing = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)'
    asked = {"expr": firing, "eval_time": "58m", "exp_samples": [{"labels": "{}", "value": int(fires)}]}
    return {
        "name": f"{alert} {'fires' if fires else 'is silent'}",
        "interval": "1m",
        "input_series": [{"series": _labelled(name, labels), "values": values} for name, values in series.items()],
        "promql_expr_test": [asked],
    }


def _labelled(series: str, labels: str) -> str:
    name, _, own = series.partition("{")
    return f"{name}{{{labels}{',' if labels and own else ''}{own or '}'}"
