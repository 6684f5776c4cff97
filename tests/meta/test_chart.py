"""The Helm chart in deploy/chart agrees with the code. If Helm is installed, its output is tested, too."""

import json
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

import pytest
import yaml
from pydantic import SecretStr

from pipeline.config.settings import Settings
from pipeline.config.settings_sources import CONFIG, PREFIX
from pipeline.http import ssrf_guard
from pipeline.web.access import OPEN_PATHS
from tests.support.charts import CHART, LEAST, ROOT, documents, helm, with_helm

VALIDATE: Final = os.environ.get("WEBHOOKS_TEST_KUBERNETES_VALIDATE") or shutil.which("kubernetes-validate")
"""The path of kubernetes-validate, which has Kubernetes' strict schemas, and which `.ci/tools` installs."""

TEMPLATES: Final = sorted((CHART / "templates").iterdir())
VALUES: Final = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: Final = json.loads((CHART / "values.schema.json").read_text())

OPERATORS: Final = ("monitoring.coreos.com", "keda.sh")
"""API groups whose schemas are not a part of Kubernetes."""

EVERYTHING: Final[Mapping[str, Any]] = {
    "definition": {"content": yaml.safe_load((ROOT / "deploy" / "definition.yaml").read_text())},
    "settings": {"WEBHOOKS_LOG_LEVEL": "DEBUG"},
    "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
    "keyStores": {"existingSecret": "stores"},
    "podMonitor": {"enabled": True},
    "autoscaling": {"enabled": True, "prometheus": {"selector": 'namespace="webhooks"'}},
    "imagePullSecrets": [{"name": "registry"}],
    "nodeSelector": {"zone": "a"},
    "tolerations": [{"key": "a", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {}},
    "podAnnotations": {"a": "b"},
    "podLabels": {"team": "orders"},
    "priorityClassName": "high",
    "extraVolumes": [{"name": "ca", "secret": {"secretName": "ca"}}],
    "extraVolumeMounts": [{"name": "ca", "mountPath": "/ca"}],
    "service": {"annotations": {"a": "b"}},
}
WITH_PARTS: Final[Mapping[str, Any]] = {
    **EVERYTHING,
    "console": {"enabled": True},
    "ingress": {"enabled": True, "host": "webhooks.example", "tlsSecret": "tls"},
    "prometheusRule": {"enabled": True},
    "dashboard": {"enabled": True},
}


def limit(setting: str, name: str) -> float:
    """The limit of a setting, `ge` or `le`."""
    return next(float(getattr(each, name)) for each in Settings.model_fields[setting].metadata if hasattr(each, name))


def paths(schema: Mapping[str, Any], values: Mapping[str, Any], at: str = "") -> Iterator[str]:
    """The paths at which the schema and the values have different names."""
    properties = schema.get("properties")
    if properties is None:
        return
    yield from (f"{at}{name}" for name in set(properties) ^ set(values) if f"{at}{name}" != "global")
    for name in set(properties) & set(values):
        if isinstance(values[name], Mapping):
            yield from paths(properties[name], values[name], f"{at}{name}.")


def test_every_value_of_the_chart_is_in_the_schema_and_the_file() -> None:
    assert list(paths(SCHEMA, VALUES)) == []
    text = (CHART / "values.schema.json").read_text()
    assert text.count('"properties"') == text.count('"additionalProperties": false')


def test_the_chart_has_the_version_of_the_package() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert (chart["version"], chart["appVersion"]) == (version, version)


@pytest.mark.parametrize(
    "file", [*TEMPLATES, CHART / "values.yaml", CHART / "values.schema.json"], ids=lambda p: p.name
)
def test_no_file_of_the_chart_names_an_unknown_setting(file: Path) -> None:
    named = set(re.findall(rf"\b{PREFIX}[A-Z_]*[A-Z]\b", file.read_text()))

    assert named <= {CONFIG, *(f"{PREFIX}{name.upper()}" for name in Settings.model_fields)}


def test_the_chart_allows_what_the_settings_allow() -> None:
    session = SCHEMA["properties"]["sessionSeconds"]

    assert (session["minimum"], session["maximum"]) == (limit("session_seconds", "ge"), limit("session_seconds", "le"))
    assert SCHEMA["properties"]["terminationGracePeriodSeconds"]["minimum"] > limit("drain_seconds", "le")
    assert VALUES["autoscaling"]["inFlightPerWorker"] < Settings.model_fields["max_in_flight"].default


def test_autoscaling_uses_existing_metrics() -> None:
    asked = re.findall(r'"metric" "(\w+)"', (CHART / "templates" / "scaledobject.yaml").read_text())
    offered = (ROOT / "pipeline" / "observability" / "prometheus.py").read_text()

    assert len(asked) == 3
    assert [name for name in asked if f'"{name}"' not in offered] == []


Render = Callable[[Mapping[str, Any]], dict[str, dict[str, Any]]]


@pytest.fixture
def render(tmp_path: Path) -> Render:
    """The objects that `helm template` makes from these values, by kind."""

    def rendered(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        return {each["kind"]: each for each in documents(tmp_path, values).values()}

    return rendered


@with_helm
@pytest.mark.parametrize("values", [LEAST, WITH_PARTS], ids=["least", "everything"])
def test_helm_finds_nothing_wrong(tmp_path: Path, values: Mapping[str, Any]) -> None:
    done = helm(tmp_path, "lint", "--strict", str(CHART), values=values)

    assert done.returncode == 0, done.stdout + done.stderr


@with_helm
@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "set exactly one of content, existingConfigMap, existingSecret; set: none"),
        ({"definition": {"existingConfigMap": "a", "existingSecret": "b"}}, "set: existingConfigMap, existingSecret"),
        ({**LEAST, "replica": 3}, "additional properties 'replica' not allowed"),
        ({**LEAST, "settings": {"MAX_IN_FLIGHT": "1"}}, "invalid propertyName 'MAX_IN_FLIGHT'"),
        ({**LEAST, "settings": {"WEBHOOKS_MAX_IN_FLIGHT": 1_000_000}}, "got number, want string"),
        (
            {**LEAST, "settings": {"WEBHOOKS_SESSION_SECONDS": "9"}},
            "\nsettings.WEBHOOKS_SESSION_SECONDS: not allowed here; use sessionSeconds\n",
        ),
        (
            {**LEAST, "extraEnv": [{"name": "WEBHOOKS_APP", "value": "a"}]},
            "\nextraEnv: WEBHOOKS_APP is not allowed here; use settings\n",
        ),
        (
            {**LEAST, "podLabels": {"app.kubernetes.io/instance": "a"}},
            "\npodLabels.app.kubernetes.io/instance: not allowed; the chart selects pods by it\n",
        ),
        (
            {**LEAST, "autoscaling": {"minReplicas": 3, "maxReplicas": 2}},
            "\nautoscaling.maxReplicas: 2 is below minReplicas (3)\n",
        ),
        ({**LEAST, "image": {"tag": "1.0+b"}}, "at '/image/tag': '1.0+b' does not match pattern"),
        ({**LEAST, "sessionSeconds": 60}, "maximum: got 60, want 40"),
    ],
)
def test_wrong_values_are_refused_with_a_reason(tmp_path: Path, values: Mapping[str, Any], says: str) -> None:
    done = helm(tmp_path, "template", "deliver", str(CHART), values=values)

    assert done.returncode != 0
    assert says in done.stderr


@with_helm
def test_a_secret_setting_is_never_written_into_a_manifest(tmp_path: Path) -> None:
    secret = {
        f"{PREFIX}{name.upper()}": "a"
        for name, field in Settings.model_fields.items()
        if SecretStr.__name__ in str(field.annotation)
    }
    done = helm(tmp_path, "template", "deliver", str(CHART), values={**LEAST, "settings": secret})

    refused = r"^settings\.(\w+): not allowed here; use a key of the secret that existingSecret names$"
    said = re.findall(refused, done.stderr, re.MULTILINE)
    assert set(said) == set(secret)
    assert len(secret) >= 5


@with_helm
def test_settings_that_the_chart_sets_itself_are_refused(tmp_path: Path, render: Render) -> None:
    made = render({**LEAST, "keyStores": {"existingSecret": "stores"}})["StatefulSet"]
    (container,) = made["spec"]["template"]["spec"]["containers"]
    own = {each["name"]: "a" for each in container["env"]}
    done = helm(tmp_path, "template", "deliver", str(CHART), values={**LEAST, "settings": own})

    assert set(re.findall(r"^settings\.(\w+): not allowed here; use ", done.stderr, re.MULTILINE)) == set(own)


@with_helm
def test_the_pods_are_as_restricted_as_the_image_allows(render: Render) -> None:
    pod = render(LEAST)["StatefulSet"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert "USER 10001:10001" in (ROOT / "deploy" / "Dockerfile").read_text()
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert {mount["mountPath"] for mount in container["volumeMounts"]} >= {"/tmp", "/var/lib/webhooks"}  # noqa: S108


@with_helm
def test_the_operator_or_the_cluster_chooses_the_user_id(render: Render) -> None:
    def context(user: int | None) -> Mapping[str, Any]:
        made = render({**LEAST, "runAsUser": user})["StatefulSet"]["spec"]["template"]["spec"]["securityContext"]
        assert isinstance(made, dict)
        return made

    always = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    large = 1_000_740_000  # like OpenShift's ids; by default, Helm writes it with an exponent
    assert context(None) == always
    assert context(large) == {**always, "runAsUser": large, "runAsGroup": large, "fsGroup": large}


@with_helm
def test_the_kubernetes_probes_use_paths_that_need_no_token(render: Render) -> None:
    (container,) = render(LEAST)["StatefulSet"]["spec"]["template"]["spec"]["containers"]
    probes = [container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")]

    assert {probe["path"] for probe in probes} == OPEN_PATHS
    assert {probe["port"] for probe in probes} == {container["ports"][0]["name"]}
    assert container["ports"][0]["containerPort"] == Settings.model_fields["web_port"].default


@with_helm
def test_each_pod_has_its_own_id(render: Render) -> None:
    made = render(LEAST)["StatefulSet"]["spec"]
    (container,) = made["template"]["spec"]["containers"]
    environment = {each["name"]: each for each in container["env"]}

    assert environment["WEBHOOKS_INSTANCE_ID"]["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    without = render({**LEAST, "staticMembership": {"enabled": False}})["StatefulSet"]["spec"]["template"]["spec"]
    assert "WEBHOOKS_INSTANCE_ID" not in {each["name"] for each in without["containers"][0]["env"]}


@with_helm
def test_every_selector_matches_the_pods(render: Render) -> None:
    made = render(EVERYTHING)
    labels = made["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        made["StatefulSet"]["spec"]["selector"]["matchLabels"],
        made["Service"]["spec"]["selector"],
        made["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        made["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        made["PodMonitor"]["spec"]["selector"]["matchLabels"],
        *(
            each["labelSelector"]["matchLabels"]
            for each in made["StatefulSet"]["spec"]["template"]["spec"]["topologySpreadConstraints"]
        ),
    ]

    assert len(selectors) == 7
    assert all(selector.items() <= labels.items() for selector in selectors)
    assert "Secret" not in made
    assert made["StatefulSet"]["spec"]["serviceName"] == made["Service"]["metadata"]["name"]


@with_helm
def test_workers_reach_everything_but_the_metadata_services(render: Render) -> None:
    (rule,) = render(LEAST)["NetworkPolicy"]["spec"]["egress"]
    blocks = [each["ipBlock"] for each in rule["to"] if "ipBlock" in each]

    assert "ports" not in rule
    assert {"namespaceSelector": {}} in rule["to"]  # plugins like Cilium don't count pods among the addresses
    assert [block["cidr"] for block in blocks] == ["0.0.0.0/0", "::/0"]
    refused = {network for network, name in ssrf_guard._REFUSED if name == "the metadata address"}
    assert {each for block in blocks for each in block["except"]} == refused


@with_helm
def test_a_definition_in_the_values_is_unchanged_in_the_pod(render: Render) -> None:
    made = render(EVERYTHING)["ConfigMap"]["data"]["definition.yaml"]

    assert yaml.safe_load(made) == EVERYTHING["definition"]["content"]


@with_helm
def test_a_new_version_of_the_chart_alone_replaces_no_pod(render: Render) -> None:
    made = render(LEAST)["StatefulSet"]["spec"]

    assert made["template"]["metadata"] == {"labels": made["selector"]["matchLabels"]}


@with_helm
def test_with_autoscaling_the_chart_sets_no_number_of_workers(render: Render) -> None:
    assert "replicas" not in render(EVERYTHING)["StatefulSet"]["spec"]
    assert render(LEAST)["StatefulSet"]["spec"]["replicas"] == VALUES["replicas"]


class ApiServer(BaseHTTPRequestHandler):
    """The part of the Kubernetes API that Helm uses to look up a StatefulSet. It has a StatefulSet with six workers."""

    def do_GET(self) -> None:
        kind = {"name": "statefulsets", "namespaced": True, "kind": "StatefulSet", "verbs": ["get"]}
        answers: Mapping[str, Mapping[str, Any]] = {
            "/version": {"major": "1", "minor": "31", "gitVersion": "v1.31.0"},
            "/apis/apps/v1": {"kind": "APIResourceList", "groupVersion": "apps/v1", "resources": [kind]},
            "/apis/apps/v1/namespaces/default/statefulsets/deliver": {
                "apiVersion": "apps/v1",
                "kind": "StatefulSet",
                "metadata": {"name": "deliver"},
                "spec": {"replicas": 6},
            },
        }
        body = json.dumps(answers.get(self.path.partition("?")[0], {})).encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def api_server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), ApiServer) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@with_helm
def test_autoscaling_begins_with_the_present_number_of_workers(tmp_path: Path, api_server: str) -> None:
    done = helm(
        tmp_path,
        *("template", "deliver", str(CHART), "--show-only", "templates/statefulset.yaml"),
        *("--dry-run=server", "--kube-apiserver", api_server),
        values={**LEAST, "autoscaling": {"enabled": True}},
    )

    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["spec"]["replicas"] == 6


@with_helm
def test_autoscaling_uses_only_metrics_of_this_release(render: Render) -> None:
    triggers = render({**LEAST, "autoscaling": {"enabled": True}})["ScaledObject"]["spec"]["triggers"]
    asked = [re.findall(r"\{(.*?)\}", each["metadata"]["query"]) for each in triggers]

    assert [set(each) for each in asked] == [{'namespace="default",pod=~"deliver-[0-9]+"'}] * 2
    # Workers whose metrics are missing are not idle.
    assert {each["metadata"]["ignoreNullValues"] for each in triggers} == {"false"}


@with_helm
@pytest.mark.skipif(VALIDATE is None, reason="needs kubernetes-validate (WEBHOOKS_TEST_KUBERNETES_VALIDATE)")
@pytest.mark.parametrize("version", ["1.27", "1.31", "1.37"])
@pytest.mark.parametrize("values", [LEAST, WITH_PARTS], ids=["least", "everything"])
def test_kubernetes_accepts_every_field(tmp_path: Path, values: Mapping[str, Any], version: str) -> None:
    made = documents(tmp_path, values)
    path = tmp_path / "manifests.yaml"

    def refused() -> str:
        of_kubernetes = [each for each in made.values() if each["apiVersion"].partition("/")[0] not in OPERATORS]
        path.write_text(yaml.safe_dump_all(of_kubernetes))
        command = [str(VALIDATE), "--strict", "--quiet", "--kubernetes-version", version, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr if done.returncode else ""

    assert refused() == ""
    made["StatefulSet/deliver"]["spec"]["template"]["spec"]["unknown"] = True
    assert "unknown" in refused()
