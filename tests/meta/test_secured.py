"""How the tests read the variable that describes a secured Kafka (tests/support/secured.py)."""

from pathlib import Path

import pytest
from _pytest.outcomes import Failed, Skipped

from tests.support.secured import VARIABLE, SecuredKafka, parse, secured_kafka


def test_a_url_has_the_address_the_credentials_and_the_authority(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text("certificates")

    assert parse(f"sasl-ssl://me:p%40ss@kafka.example:9093?ca={ca}") == SecuredKafka(
        "kafka.example:9093", "SASL_SSL", "me", "p@ss", "certificates"
    )
    assert parse("sasl-plaintext://me:secret@[::1]:9094") == SecuredKafka(
        "[::1]:9094", "SASL_PLAINTEXT", "me", "secret"
    )


@pytest.mark.parametrize(
    "url",
    [
        "https://me:hunter2@kafka:9093",
        "sasl-ssl://me:hunter2@kafka:9093",
        "sasl-plaintext://me:hunter2@kafka:9093?ca=/ca.pem",
        "sasl-plaintext://me:hunter2@kafka",
        "sasl-plaintext://kafka:9093",
    ],
)
def test_an_invalid_url_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ValueError, match=r"must|needs") as caught:
        parse(url)

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("ci", "url", "outcome"), [("", "", Skipped), ("true", "none", Skipped), ("true", "", Failed), ("", "x:", Failed)]
)
def test_without_a_secured_kafka_tests_skip_or_fail_in_ci(
    monkeypatch: pytest.MonkeyPatch, ci: str, url: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("CI", ci)

    with pytest.raises(outcome, match=VARIABLE):
        secured_kafka({VARIABLE: url})
