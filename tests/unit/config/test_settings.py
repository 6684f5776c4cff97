"""Settings: the environment takes precedence over the file, mistakes are sentences, and secrets are never shown."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from pipeline.config.settings import Settings
from pipeline.core.errors import ConfigurationError

KEY = Fernet.generate_key().decode()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("WEBHOOKS_API", "WEBHOOKS_SECRET_KEYS", "WEBHOOKS_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WEBHOOKS_API", "api.yaml")
    monkeypatch.setenv("WEBHOOKS_SECRET_KEYS", KEY)
    return monkeypatch


def problems() -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        Settings()
    return caught.value.problems


def test_defaults_are_as_documented() -> None:
    settings = Settings()
    assert (settings.app, settings.web_bind, settings.web_port) == ("webhooks", "127.0.0.1", 6066)
    assert (settings.max_in_flight, settings.lane_events, settings.claim_events) == (512, 1000, 1)
    assert (settings.lane_bytes, settings.worker_bytes) == (4 * 1024**2, 256 * 1024**2)
    assert (settings.hold_seconds, settings.drain_seconds, settings.session_seconds) == (5.0, 10.0, 6.0)
    assert settings.allow_private_networks == ()
    assert settings.name_servers == ()


def test_every_setting_has_a_description() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_arguments_override_environment_and_file(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("APP: from-file\nWEBHOOKS_LANE_EVENTS: 7\nweb_port: 1000\nallow_private_networks: [10.0.0.0/8]\n")
    environment.setenv("WEBHOOKS_CONFIG", str(file))
    environment.setenv("WEBHOOKS_APP", "from-environment")
    settings = Settings(web_port=2000)
    assert (settings.app, settings.lane_events, settings.web_port) == ("from-environment", 7, 2000)
    assert [str(network) for network in settings.allow_private_networks] == ["10.0.0.0/8"]


def test_comma_lists_are_split_and_trimmed(environment: pytest.MonkeyPatch) -> None:
    other = Fernet.generate_key().decode()
    environment.setenv("WEBHOOKS_SECRET_KEYS", f"{KEY}, {other}")
    environment.setenv("WEBHOOKS_ALLOW_PRIVATE_NETWORKS", "127.0.0.0/8, ::1/128")
    environment.setenv("WEBHOOKS_NAME_SERVERS", "127.0.0.1, 127.0.0.1:5353,::1, [::1]:5353")
    settings = Settings()
    assert settings.name_servers == ("127.0.0.1", "127.0.0.1:5353", "::1", "[::1]:5353")
    assert [key.get_secret_value() for key in settings.secret_keys] == [KEY, other]
    assert [str(network) for network in settings.allow_private_networks] == ["127.0.0.0/8", "::1/128"]


def test_an_empty_variable_is_not_set(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("WEBHOOKS_ADMIN_TOKEN", "")
    assert Settings().admin_token is None


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("WEB_PORT", "70000", 'WEBHOOKS_WEB_PORT: "70000" is out of range; allowed: 1 to 65535'),
        ("MAX_IN_FLIGHT", "many", 'WEBHOOKS_MAX_IN_FLIGHT: must be a whole number, not "many"'),
        ("HOLD_SECONDS", "-1", 'WEBHOOKS_HOLD_SECONDS: "-1" is out of range; allowed: 0 to 3600'),
        ("SESSION_SECONDS", "2", 'WEBHOOKS_SESSION_SECONDS: "2" is out of range; allowed: 3 to 40'),
        ("LOG_FORMAT", "xml", 'WEBHOOKS_LOG_FORMAT: "xml" is not allowed; allowed: console, json'),
        ("MAX_INFLIGHT", "1", "WEBHOOKS_MAX_INFLIGHT: unknown setting; did you mean WEBHOOKS_MAX_IN_FLIGHT?"),
        ("NOTIFY_URL", "ftp://ops/hunter2", "WEBHOOKS_NOTIFY_URL: is not an http or https URL"),
        (
            "NOTIFY_SIGNING_SECRET",
            "hunter2",
            "WEBHOOKS_NOTIFY_SIGNING_SECRET: must begin with whsec_ or whsk_",
        ),
        ("LANE_BYTES", "1GiB", "WEBHOOKS_LANE_BYTES: 1073741824 is more than WORKER_BYTES, 268435456"),
        (
            "BOOTSTRAP_SERVERS",
            "kafka",
            'WEBHOOKS_BOOTSTRAP_SERVERS: "kafka" is not a broker; allowed: host:port, several separated by commas',
        ),
    ],
)
def test_an_error_names_setting_value_and_what_is_allowed(
    environment: pytest.MonkeyPatch, name: str, value: str, problem: str
) -> None:
    environment.setenv(f"WEBHOOKS_{name}", value)
    assert problems() == [problem]


def test_a_wrong_network_is_reported(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("WEBHOOKS_ALLOW_PRIVATE_NETWORKS", "10.0.0.0/8,10.0.0.1/8")
    assert problems()[0].startswith('WEBHOOKS_ALLOW_PRIVATE_NETWORKS: "10.0.0.1/8" is not a network in CIDR notation')


@pytest.mark.parametrize(
    "server", ["dns.example", "127.1", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:", "[::1", "[::1]", "::1:x", ":53"]
)
def test_a_wrong_name_server_is_reported(environment: pytest.MonkeyPatch, server: str) -> None:
    environment.setenv("WEBHOOKS_NAME_SERVERS", f"127.0.0.1,{server}")
    allowed = "an address, with :port if it isn't 53"
    assert problems() == [f'WEBHOOKS_NAME_SERVERS: "{server}" is not a name server; allowed: {allowed}']


def test_a_missing_required_setting_is_named(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("WEBHOOKS_API")
    environment.delenv("WEBHOOKS_SECRET_KEYS")
    api, keys = problems()
    assert api.startswith("WEBHOOKS_API: is required: the file that names the topics to deliver")
    assert keys.startswith("WEBHOOKS_SECRET_KEYS: is required: the keys that encrypt")
    command = keys.partition("make one with: ")[2].replace("python", shlex.quote(sys.executable), 1)
    made = subprocess.run(shlex.split(command), check=True, capture_output=True, text=True).stdout.strip()
    environment.setenv("WEBHOOKS_API", "orders.yaml")
    environment.setenv("WEBHOOKS_SECRET_KEYS", made)
    assert Settings().secret_keys[0].get_secret_value() == made


def test_an_unknown_key_in_the_file_suggests_the_nearest_name(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("lane_event: 7\n")
    environment.setenv("WEBHOOKS_CONFIG", str(file))
    assert problems() == [f"{file}: lane_event: unknown setting; did you mean LANE_EVENTS?"]


@pytest.mark.parametrize(
    "name",
    ["SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_WEB", "PORT", "PORT_6066_TCP_ADDR", "UI_SERVICE_HOST", "TEST_KAFKA"],
)
def test_variables_of_kubernetes_and_tests_are_ignored(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.setenv(f"WEBHOOKS_{name}", "x")
    assert Settings().app == "webhooks"


def test_an_error_does_not_repeat_a_wrong_secret(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.setenv("WEBHOOKS_SECRET_KEYS", f"{KEY},hunter2")
    file = tmp_path / "settings.yaml"
    file.write_text("admin_token: 777123\n")
    environment.setenv("WEBHOOKS_CONFIG", str(file))
    text = "\n".join(problems())
    assert "key 2 is not a Fernet key" in text
    assert "WEBHOOKS_ADMIN_TOKEN: must be a string, not a number" in text
    assert "hunter2" not in text
    assert KEY not in text
    assert "777123" not in text


def test_secrets_are_shown_only_as_set_or_not_set(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("WEBHOOKS_ADMIN_TOKEN", "swordfish")
    settings = Settings()
    effective = settings.effective()
    assert effective["WEBHOOKS_SECRET_KEYS"] == "set"
    assert effective["WEBHOOKS_ADMIN_TOKEN"] == "set"
    assert effective["WEBHOOKS_ADMIN_JWKS"] == "not set"
    assert effective["WEBHOOKS_LANE_BYTES"] == "4194304"
    assert set(effective) == {f"WEBHOOKS_{name.upper()}" for name in Settings.model_fields}
    shown = f"{effective} {settings!r}"
    assert "swordfish" not in shown
    assert KEY not in shown


@pytest.mark.parametrize(
    "location",
    [
        "/etc/webhooks/jwks.json",
        "jwks.json",
        "https://login.example/jwks?tenant=a",
        "http://127.0.0.1:8080/jwks",
        "http://[::1]/jwks",
        "http://localhost/jwks",
    ],
)
def test_a_jwk_set_comes_from_a_file_or_from_https_or_loopback(environment: pytest.MonkeyPatch, location: str) -> None:
    environment.setenv("WEBHOOKS_ADMIN_JWKS", location)
    assert Settings().admin_jwks == location


@pytest.mark.parametrize(
    "location",
    [
        "http://login.example/jwks",
        "http://127.0.0.1.example/jwks",
        "ftp://login.example/jwks",
        "file:///etc/jwks.json",
        "https://me:hunter2@login.example/jwks",
        "https:///jwks",
        "https://login.example:port/jwks",
    ],
)
def test_a_jwk_set_over_plain_http_is_refused(environment: pytest.MonkeyPatch, location: str) -> None:
    environment.setenv("WEBHOOKS_ADMIN_JWKS", location)
    assert problems() == [
        "WEBHOOKS_ADMIN_JWKS: must be a file or an https URL without user and password; http for loopback only"
    ]
