"""Optional parts of the Helm chart (console, ingress, alert rules, dashboard), and upgrades from an older chart."""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from textwrap import indent
from typing import Any, Final

import pytest
import yaml

from tests.support.charts import CHART, LEAST, ROOT, Document, documents, helm, with_helm

PARTS: Final = ("console", "ingress", "prometheusRule", "dashboard")
ON: Final[Mapping[str, Any]] = {
    **LEAST,
    "console": {"enabled": True},
    "ingress": {"enabled": True, "host": "webhooks.example"},
    "prometheusRule": {"enabled": True},
    "dashboard": {"enabled": True},
}
ALERTS: Final = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"][0]["rules"]
HERE: Final = 'namespace="default",pod=~"deliver-[0-9]+"'


def rules(made: Mapping[str, Document]) -> list[Document]:
    [group] = made["PrometheusRule/deliver"]["spec"]["groups"]
    found: list[Document] = group["rules"]
    return found


def pod(workload: Document) -> Document:
    template: Document = workload["spec"]["template"]
    return template


@with_helm
def test_optional_parts_are_made_only_on_request(tmp_path: Path) -> None:
    made = documents(tmp_path, LEAST)

    assert sorted(made) == [
        "NetworkPolicy/deliver",
        "Pod/deliver-test",
        "PodDisruptionBudget/deliver",
        "Service/deliver",
        "StatefulSet/deliver",
    ]


@with_helm
@pytest.mark.parametrize("part", PARTS)
def test_with_reused_values_an_upgrade_lacks_the_new_parts(tmp_path: Path, part: str) -> None:
    """`helm upgrade --reuse-values` keeps the defaults of the former chart, so new values are missing."""
    assert documents(tmp_path, {**LEAST, part: None}) == documents(tmp_path, LEAST)


@with_helm
def test_an_upgrade_changes_no_field_that_kubernetes_fixes(tmp_path: Path) -> None:
    made = documents(tmp_path, LEAST)["StatefulSet/deliver"]["spec"]

    # Values in releases of earlier versions. Kubernetes refuses an upgrade that changes one of them.
    assert made["serviceName"] == "deliver"
    assert made["podManagementPolicy"] == "Parallel"
    assert made["selector"] == {
        "matchLabels": {"app.kubernetes.io/name": "webhook-pipeline", "app.kubernetes.io/instance": "deliver"}
    }
    assert "volumeClaimTemplates" not in made


@with_helm
def test_new_parts_replace_no_worker(tmp_path: Path) -> None:
    assert pod(documents(tmp_path, ON)["StatefulSet/deliver"]) == pod(documents(tmp_path, LEAST)["StatefulSet/deliver"])


@with_helm
def test_the_console_s_pod_differs_only_in_group_membership(tmp_path: Path) -> None:
    made = documents(tmp_path, {**ON, "settings": {"WEBHOOKS_APP": "orders"}, "definition": {"content": {"a": 1}}})
    worker, console = pod(made["StatefulSet/deliver"]), pod(made["Deployment/deliver-console"])
    [of_worker], [of_console] = worker["spec"].pop("containers"), console["spec"].pop("containers")

    membership = {"WEBHOOKS_INSTANCE_ID", "WEBHOOKS_SESSION_SECONDS"}
    assert of_console.pop("args") == ["console"]
    assert of_console.pop("env") == [each for each in of_worker.pop("env") if each["name"] not in membership]
    own = ("name", "resources")
    assert {key: of_console[key] for key in of_console if key not in own} == {
        key: of_worker[key] for key in of_worker if key not in own
    }
    assert console["metadata"]["annotations"] == worker["metadata"]["annotations"]
    for each in (worker, console):
        del each["spec"]["topologySpreadConstraints"]
    assert console["spec"] == worker["spec"]


@with_helm
def test_helm_test_checks_what_workers_need(tmp_path: Path) -> None:
    made = documents(tmp_path, {**ON, "settings": {"WEBHOOKS_APP": "orders"}})
    tested, console = made["Pod/deliver-test"], pod(made["Deployment/deliver-console"])
    check, service = tested["spec"].pop("containers")
    [of_console] = console["spec"].pop("containers")

    assert tested["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert check["args"] == ["check"]
    assert {key: check[key] for key in ("image", "env", "envFrom", "volumeMounts", "securityContext")} == {
        key: of_console[key] for key in ("image", "env", "envFrom", "volumeMounts", "securityContext")
    }
    assert service["securityContext"] == check["securityContext"]
    [port] = made["Service/deliver"]["spec"]["ports"]
    assert f"http://deliver:{port['port']}/health/ready" in service["command"][-1]
    assert tested["spec"].pop("restartPolicy") == "Never"
    del console["spec"]["topologySpreadConstraints"]
    assert tested["spec"] == console["spec"]
    specs = [each["spec"] for each in made.values() if "spec" in each]
    selectors = [spec[name] for spec in specs for name in ("selector", "podSelector") if name in spec]
    for each in selectors:
        assert not each.get("matchLabels", each).items() <= tested["metadata"]["labels"].items()
    assert len(selectors) == 7


@with_helm
def test_no_selector_of_workers_selects_the_console(tmp_path: Path) -> None:
    made = documents(tmp_path, {**ON, "podMonitor": {"enabled": True}})
    worker, console = pod(made["StatefulSet/deliver"]), pod(made["Deployment/deliver-console"])

    def selects(selector: Mapping[str, str]) -> list[str]:
        labels = {"worker": worker["metadata"]["labels"], "console": console["metadata"]["labels"]}
        return [name for name, has in labels.items() if selector.items() <= has.items()]

    for name in ("StatefulSet", "PodDisruptionBudget", "PodMonitor"):
        assert selects(made[f"{name}/deliver"]["spec"]["selector"]["matchLabels"]) == ["worker"], name
    assert selects(made["Service/deliver"]["spec"]["selector"]) == ["worker"]
    assert selects(made["NetworkPolicy/deliver"]["spec"]["podSelector"]["matchLabels"]) == ["worker"]
    assert selects(made["Service/deliver-console"]["spec"]["selector"]) == ["console"]
    assert selects(made["Deployment/deliver-console"]["spec"]["selector"]["matchLabels"]) == ["console"]
    for spread in console["spec"]["topologySpreadConstraints"]:
        assert selects(spread["labelSelector"]["matchLabels"]) == ["console"]


@with_helm
def test_the_console_has_the_network_rules_of_a_worker(tmp_path: Path) -> None:
    made = documents(tmp_path, ON)
    worker, console = (made[f"NetworkPolicy/{name}"]["spec"] for name in ("deliver", "deliver-console"))

    [of_console], [of_worker] = console["podSelector"].values(), worker["podSelector"].values()
    assert of_console == pod(made["Deployment/deliver-console"])["metadata"]["labels"] != of_worker
    assert {**console, "podSelector": None} == {**worker, "podSelector": None}


@with_helm
@pytest.mark.parametrize(("has_console", "service"), [(True, "deliver-console"), (False, "deliver")])
def test_an_ingress_leads_to_the_service_with_the_pages(tmp_path: Path, has_console: bool, service: str) -> None:
    values = {**ON, "console": {"enabled": has_console}, "ingress": {**ON["ingress"], "tlsSecret": "tls"}}
    made = documents(tmp_path, values)
    spec = made["Ingress/deliver"]["spec"]

    [rule] = spec["rules"]
    [path] = rule["http"]["paths"]
    assert path["backend"] == {"service": {"name": service, "port": {"name": "web"}}}
    assert [port["name"] for port in made[f"Service/{service}"]["spec"]["ports"]] == ["web"]
    assert spec["tls"] == [{"secretName": "tls", "hosts": [rule["host"]]}]


@with_helm
def test_the_notes_name_the_service_with_the_pages(tmp_path: Path) -> None:
    """Only `helm install` prints the notes, so the test turns them into a template that `helm template` prints."""
    chart = shutil.copytree(CHART, tmp_path / "chart")
    notes = (chart / "templates" / "NOTES.txt").read_text()
    (chart / "templates" / "notes.yaml").write_text(f"notes: |\n{indent(notes, '  ')}")
    shown = ("template", "deliver", str(chart), "--show-only", "templates/notes.yaml")

    def said(values: Mapping[str, Any]) -> str:
        done = helm(tmp_path, *shown, values=values)
        assert done.returncode == 0, done.stderr
        return " ".join(str(yaml.safe_load(done.stdout)["notes"]).split())

    assert "service/deliver-console 6066:80" in said(ON)
    assert "http://127.0.0.1:6066/ or http://webhooks.example/, with any user name, and WEBHOOKS_ADMIN_TOKEN" in said(
        ON
    )
    assert "service/deliver 6066:80 then http://127.0.0.1:6066/, with any user name" in said(LEAST)
    assert said(LEAST).endswith("WEBHOOKS_ADMIN_TOKEN of the secret webhooks as the password")


@with_helm
def test_the_chart_s_alert_rules_are_those_of_the_rules_file(tmp_path: Path) -> None:
    made = rules(documents(tmp_path, ON))

    for rule, written in zip(made, ALERTS, strict=True):
        # Each metric is limited to the release, and nothing else has changed.
        assert len(re.findall(r"webhooks_", rule["expr"])) == rule["expr"].count(HERE)
        unlimited = rule["expr"].replace(f"{{{HERE}}}", "").replace(f"{HERE},", "")
        assert {**rule, "expr": unlimited} == {**written, "labels": {**written["labels"], "namespace": "default"}}


@with_helm
def test_alert_rules_can_be_left_out_and_labelled(tmp_path: Path) -> None:
    asked = {
        "without": ["WebhooksSlow"],
        "runbook": "https://w.example/r",
        "alertLabels": {"severity": "page", "a": "b"},
    }
    values = {
        **ON,
        "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}, "selector": 'a="$1"', **asked},
    }
    made = documents(tmp_path, values)

    assert made["PrometheusRule/deliver"]["metadata"]["labels"]["release"] == "prometheus"
    assert [each["alert"] for each in rules(made)] == [
        each["alert"] for each in ALERTS if each["alert"] != "WebhooksSlow"
    ]
    assert rules(made)[0] == {
        **ALERTS[0],
        "expr": 'absent(webhooks_build_info{a="$1"})',
        "labels": {"severity": "page", "a": "b", "namespace": "default"},
        "annotations": {**ALERTS[0]["annotations"], "runbook_url": "https://w.example/r#webhooksdown"},
    }


def test_the_schema_of_the_values_lists_all_alerts() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]["prometheusRule"]["properties"]

    assert schema["without"]["items"]["enum"] == [each["alert"] for each in ALERTS]


@with_helm
def test_the_dashboard_file_gets_the_sidecar_s_label(tmp_path: Path) -> None:
    values = {**ON, "dashboard": {"enabled": True, "annotations": {"grafana_folder": "Webhooks"}}}
    made = documents(tmp_path, values)["ConfigMap/deliver-dashboard"]

    assert made["data"] == {"webhooks.json": (CHART / "files" / "grafana-dashboard.json").read_text()}
    assert made["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert made["metadata"]["annotations"] == {"grafana_folder": "Webhooks"}


@with_helm
def test_the_chart_of_a_release_is_packed_completely(tmp_path: Path) -> None:
    release = (ROOT / ".ci" / "release").read_text()
    [command] = re.findall(r"helm (package --destination) dist deploy/chart", release)
    assert release.index(command) < release.index("SHA256SUMS"), "the package is made first, so it has a checksum too"

    done = helm(tmp_path, *command.split(), str(tmp_path), str(CHART))
    assert done.returncode == 0, done.stderr
    [packed] = tmp_path.glob("webhook-pipeline-*.tgz")
    assert documents(tmp_path, ON, packed) == documents(tmp_path, ON)


@with_helm
def test_secrets_may_come_from_a_file_in_a_volume(tmp_path: Path) -> None:
    """`WEBHOOKS_CONFIG` is a YAML file with settings, which a CSI driver or an agent of a vault provides."""
    volume = {"name": "vault", "csi": {"driver": "secrets-store.csi.k8s.io", "readOnly": True}}
    mount = {"name": "vault", "mountPath": "/etc/vault", "readOnly": True}
    values = {
        **ON,
        "existingSecret": "",
        "settings": {"WEBHOOKS_CONFIG": "/etc/vault/settings.yaml"},
        "extraVolumes": [volume],
        "extraVolumeMounts": [mount],
    }
    made = documents(tmp_path, values)

    for workload in (made["StatefulSet/deliver"], made["Deployment/deliver-console"]):
        [container] = pod(workload)["spec"]["containers"]
        assert "envFrom" not in container
        assert mount in container["volumeMounts"]
        assert volume in pod(workload)["spec"]["volumes"]


@with_helm
@pytest.mark.parametrize(
    ("values", "says"),
    [
        (
            {"existingSecret": ""},
            "existingSecret: it is empty; name a secret, or a file with the secrets in settings.WEBHOOKS_CONFIG",
        ),
        (
            {"existingSecret": "", "podMonitor": {"enabled": True}},
            "podMonitor.tokenSecret: it is empty, and so is existingSecret",
        ),
        ({"ingress": {"enabled": True}}, "ingress.host: it is empty; name the host of pages and API"),
        (
            {"ingress": {"enabled": True, "host": "https://a.example"}},
            "at '/ingress/host': 'https://a.example' does not match",
        ),
        ({"prometheusRule": {"without": ["WebhooksFast"]}}, "at '/prometheusRule/without/0': value must be one of"),
        ({"console": {"replica": 2}}, "additional properties 'replica' not allowed"),
    ],
)
def test_wrong_values_of_a_part_are_refused(tmp_path: Path, values: Mapping[str, Any], says: str) -> None:
    done = helm(tmp_path, "template", "deliver", str(CHART), values={**LEAST, **values})

    assert done.returncode != 0
    assert says in done.stderr


@with_helm
def test_the_metrics_token_may_be_in_a_separate_secret(tmp_path: Path) -> None:
    made = documents(tmp_path, {**LEAST, "podMonitor": {"enabled": True, "tokenSecret": "metrics"}})
    [endpoint] = made["PodMonitor/deliver"]["spec"]["podMetricsEndpoints"]

    assert endpoint["authorization"]["credentials"] == {"name": "metrics", "key": "WEBHOOKS_METRICS_TOKEN"}
