"""The files under deploy/ say what the code says: settings, their defaults, an example definition and subscription."""

import re
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

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KNOWN = {CONFIG, *(f"{PREFIX}{name.upper()}" for name in Settings.model_fields)}


class Line(NamedTuple):
    """One setting of env.example: what is said above it, and whether it is commented out."""

    said: str
    is_default: bool
    value: str


def lines() -> dict[str, Line]:
    found: dict[str, Line] = {}
    for paragraph in (DEPLOY / "env.example").read_text().split("\n\n"):
        *comments, last = paragraph.strip().splitlines()
        if setting := re.fullmatch(rf"(#?)({PREFIX}\w+)=(.*)", last):
            mark, name, value = setting.groups()
            found[name] = Line("\n".join(comments), mark == "#", value)
    return found


def test_every_setting_stands_in_the_example_in_its_order() -> None:
    assert list(lines()) == [CONFIG, *(f"{PREFIX}{name.upper()}" for name in Settings.model_fields)]


@pytest.mark.parametrize("name", Settings.model_fields)
def test_a_setting_is_described_as_in_the_code(name: str) -> None:
    assert f"# {Settings.model_fields[name].description}" in lines()[f"{PREFIX}{name.upper()}"].said.splitlines()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_what_has_no_default_is_not_commented_out(name: str) -> None:
    assert lines()[f"{PREFIX}{name.upper()}"].is_default is not Settings.model_fields[name].is_required()


def test_the_values_shown_are_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_no_file_names_a_setting_that_does_not_exist(file: str) -> None:
    assert set(re.findall(rf"\b{PREFIX}[A-Z_]+\b", (DEPLOY / file).read_text())) <= KNOWN


def test_the_example_definition_is_one() -> None:
    definition = load_definition(DEPLOY / "definition.yaml")

    assert definition.name == "example"


def test_the_example_subscription_is_one() -> None:
    assert parse_subscription(read_document(DEPLOY / "subscription.json")).id == "sub-1"


def test_workers_have_longer_to_stop_than_they_may_drain() -> None:
    limits = Settings.model_fields["drain_seconds"].metadata
    longest = next(limit.le for limit in limits if hasattr(limit, "le"))
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    chart = yaml.safe_load((DEPLOY / "chart" / "values.yaml").read_text())
    unit = (DEPLOY / "worker@.service").read_text()

    graces = [compose["services"][name]["stop_grace_period"] for name in ("worker-1", "worker-2")]
    graces += re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    graces += [f"{chart['terminationGracePeriodSeconds']}s"]
    assert len(graces) == 4
    assert all(int(grace.removesuffix("s")) > longest for grace in graces)


def test_the_image_installs_nothing_without_a_hash() -> None:
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    commands = re.findall(r"\bpip (?:install|wheel) .*?(?=&&|\n)", text)

    assert len(commands) == 4
    for command in commands:
        assert "--require-hashes" in command or ("--no-index" in command and "--no-deps" in command)
    # pip fetches what builds a package by itself, and knows no hashes for that.
    assert all("--no-build-isolation" in command for command in commands if command.startswith("pip wheel"))
    assert not [command for command in commands if command.startswith("pip install") and " . " in f"{command} "]


def test_what_builds_the_package_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    required = project["build-system"]["requires"]

    assert project["dependency-groups"]["build"] == required
    locked = (ROOT / "requirements-build.lock").read_text()
    for requirement in required:
        assert re.search(rf"^{re.split('[<>=]', requirement)[0]}==[0-9.]+ ", locked, re.MULTILINE)
    assert "--hash=sha256:" in locked


def test_compose_creates_the_topics_that_the_definition_names() -> None:
    _, *created = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["topics"]["command"]
    text = (DEPLOY / "definition.yaml").read_text()

    named = {topic for topics in re.findall(r"topics: \[(.+?)\]", text) for topic in topics.split(", ")}
    assert {topic.partition(":")[0] for topic in created} == named
