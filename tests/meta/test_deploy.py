"""The files in deploy/ agree with the code: settings, their defaults, an example definition and subscription."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from cryptography.fernet import Fernet

from pipeline.config.definition import load_definition
from pipeline.config.documents import read_document
from pipeline.config.settings import Settings
from pipeline.config.settings_sources import CONFIG, PREFIX
from pipeline.subscriptions.envelope import parse_subscription
from pipeline.subscriptions.secrets import SecretBox

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KNOWN = {CONFIG, *(f"{PREFIX}{name.upper()}" for name in Settings.model_fields)}


class Line(NamedTuple):
    """One setting of env.example: the comment above it, and whether it is commented out."""

    said: str
    is_default: bool
    value: str


COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
WORKERS = ("worker-1", "worker-2", "worker-3")


def lines() -> dict[str, Line]:
    found: dict[str, Line] = {}
    for paragraph in (DEPLOY / "env.example").read_text().split("\n\n"):
        *comments, last = paragraph.strip().splitlines()
        if setting := re.fullmatch(rf"(#?)({PREFIX}\w+)=(.*)", last):
            mark, name, value = setting.groups()
            found[name] = Line("\n".join(comments), mark == "#", value)
    return found


def test_the_example_lists_every_setting_in_order() -> None:
    assert list(lines()) == [CONFIG, *(f"{PREFIX}{name.upper()}" for name in Settings.model_fields)]


@pytest.mark.parametrize("name", Settings.model_fields)
def test_a_setting_s_description_is_the_same_as_in_the_code(name: str) -> None:
    assert f"# {Settings.model_fields[name].description}" in lines()[f"{PREFIX}{name.upper()}"].said.splitlines()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_settings_without_a_default_are_not_commented_out(name: str) -> None:
    assert lines()[f"{PREFIX}{name.upper()}"].is_default is not Settings.model_fields[name].is_required()


def test_the_example_shows_the_default_values(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KNOWN:
        monkeypatch.delenv(name, raising=False)
    needed = {"WEBHOOKS_API": "definition.yaml", "WEBHOOKS_SECRET_KEYS": Fernet.generate_key().decode()}
    for name, value in needed.items():
        monkeypatch.setenv(name, value)
    defaults = Settings()

    for name, line in lines().items():
        if line.is_default:
            monkeypatch.setenv(name, line.value)

    assert Settings() == defaults


@pytest.mark.parametrize("file", ["Dockerfile", "compose.yaml", "worker@.service", "env.example"])
def test_every_setting_that_a_file_names_exists(file: str) -> None:
    assert set(re.findall(rf"\b{PREFIX}[A-Z_]+\b", (DEPLOY / file).read_text())) <= KNOWN


def test_the_example_definition_is_valid() -> None:
    definition = load_definition(DEPLOY / "definition.yaml")

    assert definition.name == "example"


def test_the_example_subscription_is_valid() -> None:
    assert parse_subscription(read_document(DEPLOY / "subscription.json")).id == "sub-1"


def test_workers_get_more_time_to_stop_than_to_drain() -> None:
    limits = Settings.model_fields["drain_seconds"].metadata
    longest = next(limit.le for limit in limits if hasattr(limit, "le"))
    chart = yaml.safe_load((DEPLOY / "chart" / "values.yaml").read_text())
    unit = (DEPLOY / "worker@.service").read_text()

    graces = [COMPOSE["services"][name]["stop_grace_period"] for name in WORKERS]
    graces += re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    graces += [f"{chart['terminationGracePeriodSeconds']}s"]
    assert len(graces) == 5
    assert all(int(grace.removesuffix("s")) > longest for grace in graces)


def test_the_image_installs_nothing_without_a_hash() -> None:
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    commands = re.findall(r"\bpip (?:install|wheel) .*?(?=&&|\n)", text)

    assert len(commands) == 4
    for command in commands:
        assert "--require-hashes" in command or ("--no-index" in command and "--no-deps" in command)
    # Otherwise pip would download build tools without checking hashes.
    assert all("--no-build-isolation" in command for command in commands if command.startswith("pip wheel"))
    assert not [command for command in commands if command.startswith("pip install") and " . " in f"{command} "]


def test_the_build_tools_are_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    required = project["build-system"]["requires"]

    assert project["dependency-groups"]["build"] == required
    locked = (ROOT / "requirements-build.lock").read_text()
    for requirement in required:
        assert re.search(rf"^{re.split('[<>=]', requirement)[0]}==[0-9.]+ ", locked, re.MULTILINE)
    assert "--hash=sha256:" in locked


def test_the_broker_for_tests_is_an_extra_that_the_image_lacks() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())

    assert project["dependency-groups"]["dev-broker"] == project["project"]["optional-dependencies"]["dev-broker"]
    assert "confluent-kafka==" in (ROOT / "requirements-dev-broker.lock").read_text()
    assert "confluent" not in (ROOT / "requirements.lock").read_text()
    assert "requirements-dev" not in (DEPLOY / "Dockerfile").read_text()


def test_compose_creates_the_topics_that_the_definition_names() -> None:
    _, *created = COMPOSE["services"]["topics"]["command"]
    text = (DEPLOY / "definition.yaml").read_text()

    named = {topic for topics in re.findall(r"topics: \[(.+?)\]", text) for topic in topics.split(", ")}
    assert {topic.partition(":")[0] for topic in created} == named


def test_compose_builds_on_the_base_of_the_dockerfile() -> None:
    default = re.search(r"^ARG BASE=(.+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)

    built = [service["build"]["args"] for service in COMPOSE["services"].values() if "build" in service]
    assert default is not None
    assert len(built) == 5
    assert all(args == {"BASE": f"${{BASE_IMAGE:-{default[1]}}}"} for args in built)


def test_pages_and_metrics_in_compose_use_the_same_worker_names() -> None:
    assert [COMPOSE["services"][name]["hostname"] for name in WORKERS] == list(WORKERS)


def test_every_file_that_compose_mounts_exists() -> None:
    mounted = [each for service in COMPOSE["services"].values() for each in service.get("volumes", [])]
    sources = {DEPLOY / each.partition(":")[0] for each in mounted}

    assert len(sources) == 7
    assert [source for source in sources if not source.is_file()] == []
    assert all(each.endswith(":ro") for each in mounted)


def test_compose_opens_its_ports_only_on_this_machine() -> None:
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]

    assert len(ports) == 5
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_compose_file_states_its_addresses_and_its_token() -> None:
    said = (DEPLOY / "compose.yaml").read_text().partition("\nx-image")[0]
    services = COMPOSE["services"]

    token = re.fullmatch(
        r"\$\{WEBHOOKS_ADMIN_TOKEN:-(.+)\}", services["worker-1"]["environment"]["WEBHOOKS_ADMIN_TOKEN"]
    )
    assert token is not None
    assert f"password: {token[1]}\n" in said
    assert f"Bearer {token[1]}'" in said
    for name in ("worker-1", "prometheus", "grafana"):
        assert f"http://{services[name]['ports'][0].rpartition(':')[0]}/" in said
    dashboard = json.loads((DEPLOY / "chart" / "files" / "grafana-dashboard.json").read_text())
    assert f"/d/{dashboard['uid']}\n" in said


@pytest.mark.parametrize("file", ["compose.yaml", "../docs/deployment.md"])
def test_the_documented_command_makes_a_secret_key(file: str) -> None:
    [command] = re.findall(r"python3 -c '(import base64[^']*)'", (DEPLOY / file).read_text())
    made = [subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True) for _ in "12"]
    first, second = (each.stdout.strip() for each in made)

    assert first != second
    assert SecretBox([first]).decrypt(SecretBox([first]).encrypt(b"secret", b"place"), b"place") == b"secret"


def test_prometheus_in_compose_may_read_every_worker() -> None:
    (job,) = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text())["scrape_configs"]
    port = Settings.model_fields["web_port"].default

    assert job["static_configs"] == [{"targets": [f"{name}:{port}" for name in WORKERS]}]
    for name in WORKERS:
        assert COMPOSE["services"][name]["environment"]["WEBHOOKS_METRICS_TOKEN"] == job["authorization"]["credentials"]


def test_grafana_in_compose_finds_its_metrics_and_dashboard() -> None:
    (source,) = yaml.safe_load((DEPLOY / "grafana" / "datasource.yaml").read_text())["datasources"]
    (provider,) = yaml.safe_load((DEPLOY / "grafana" / "dashboards.yaml").read_text())["providers"]

    assert source["url"] == "http://prometheus:9090"
    assert COMPOSE["services"]["prometheus"]["ports"] == ["127.0.0.1:9090:9090"]
    mounted = [each.split(":") for each in COMPOSE["services"]["grafana"]["volumes"]]
    assert ["./chart/files/grafana-dashboard.json", f"{provider['options']['path']}/webhooks.json", "ro"] in mounted
