"""Kafka connections: client options, the security block, certificates."""

import base64
import datetime as dt
import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from faust import SASLCredentials

from pipeline.config.kafka_security import Security, connection
from pipeline.config.schema import read
from pipeline.core.errors import ConfigurationError
from pipeline.kafka.connection import KafkaConnection, parse_bootstrap_servers

STORES = Path(__file__).parents[2] / "keystores"
JAAS = 'org.apache.kafka.common.security.plain.PlainLoginModule required username="u" password="p\\"w;";'


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def leaf(ca: trustme.CA) -> trustme.LeafCert:
    return ca.issue_cert("client.example.org", not_after=dt.datetime(2099, 1, 1, tzinfo=dt.UTC))


def connect(block: dict[str, Any]) -> KafkaConnection:
    return connection(("k:9092",), read(Security, block, "security"), "security")


def problem(block: dict[str, Any]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        connect(block)
    return str(caught.value)


def test_brokers_are_separated_by_commas() -> None:
    assert parse_bootstrap_servers(" a:1 ,b.example:2,[::1]:3", "f") == ("a:1", "b.example:2", "[::1]:3")


@pytest.mark.parametrize("text", ["", " , ", "host", "host:0", "host:65536", "kafka://host:1", "a:1;b:2"])
def test_an_invalid_broker_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^f: .*host:port"):
        parse_bootstrap_servers(text, "f")


def test_a_plain_connection_needs_only_broker_addresses() -> None:
    plain = KafkaConnection(("a:1", "b:2"))
    assert plain.client_options() == {"bootstrap_servers": ["a:1", "b:2"], "security_protocol": "PLAINTEXT"}
    assert plain.faust_broker() == ["kafka://a:1", "kafka://b:2"]
    assert plain.faust_credentials() is None


@pytest.mark.parametrize("embedded", [False, True])
def test_no_consumer_commits_by_itself(*, embedded: bool) -> None:
    """The embedded broker's control records carry a wrong CRC; those of Kafka are checked."""
    options = replace(KafkaConnection(("a:1",)), embedded=embedded).consumer_options()
    assert options == {
        "bootstrap_servers": ["a:1"],
        "security_protocol": "PLAINTEXT",
        "enable_auto_commit": False,
        "check_crcs": not embedded,
    }


@pytest.mark.parametrize(
    "sasl",
    [
        {"mechanism": "PLAIN", "jaasConfig": JAAS},
        {"saslMechanism": "PLAIN", "saslJaasConfig": JAAS},
        {"mechanism": "plain", "username": "u", "password": 'p"w;'},
    ],
)
def test_credentials_are_read_in_every_documented_form(sasl: dict[str, Any]) -> None:
    found = connect({"protocol": "SASL_PLAINTEXT", "sasl": sasl})
    options = found.client_options()
    assert options["sasl_mechanism"] == "PLAIN"
    assert (options["sasl_plain_username"], options["sasl_plain_password"]) == ("u", 'p"w;')
    assert 'p"w;' not in repr(found)
    credentials = found.faust_credentials()
    assert isinstance(credentials, SASLCredentials)
    assert (credentials.mechanism.value, credentials.password) == ("PLAIN", 'p"w;')


def test_scram_may_be_spelled_as_the_documentation_does() -> None:
    sasl = {"mechanism": "SCRAM_SHA-256", "username": "u", "password": "p"}
    assert connect({"protocol": "SASL_SSL", "sasl": sasl}).mechanism == "SCRAM-SHA-256"


@pytest.mark.parametrize(
    ("block", "sentence"),
    [
        ({"protocol": "TLS"}, 'security.protocol: "TLS" is not allowed; allowed: PLAINTEXT, SSL, SASL_PLAINTEXT, SASL'),
        ({"protocol": "SASL_SSL"}, "security.sasl.mechanism: is required; allowed: PLAIN"),
        (
            {"protocol": "SASL_SSL", "sasl": {"mechanism": "GSSAPI"}},
            'security.sasl.mechanism: "GSSAPI" is not supported yet; allowed: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512',
        ),
        ({"protocol": "SASL_SSL", "sasl": {"mechanism": "PLAIN"}}, "security.sasl: needs username and password"),
        (
            {"protocol": "SASL_SSL", "sasl": {"mechanism": "PLAIN", "jaasConfig": "x.IAMLoginModule required;"}},
            "security.sasl.jaasConfig: must begin with one of the login modules PlainLoginModule, ScramLoginModule",
        ),
        (
            {"protocol": "SSL", "ssl": {"trustStore": {"type": "JKS", "location": str(STORES / "keys.p12")}}},
            "security.ssl.trustStore.location: is not a PKCS12 store, or its password is wrong",
        ),
        (
            {"protocol": "SSL", "ssl": {"trustStore": {"type": "PEM", "location": "/none.pem"}}},
            'security.ssl.trustStore.location: "/none.pem" can\'t be read: No such file or directory',
        ),
        (
            {"protocol": "SSL", "ssl": {"trustStore": {"type": "PEM", "certificates": "x"}}},
            "security.ssl.trustStore.certificates: contains no readable PEM certificate",
        ),
        ({"protocl": "SSL"}, "security.protocl: unknown field; did you mean protocol?"),
    ],
)
def test_wrong_and_unsupported_values_are_reported(block: dict[str, Any], sentence: str) -> None:
    assert problem(block).startswith(sentence)


def test_an_error_does_not_repeat_a_wrong_jaas_line() -> None:
    text = problem({"protocol": "SASL_SSL", "sasl": {"mechanism": "PLAIN", "jaasConfig": "password=hunter2"}})
    assert "hunter2" not in text


def test_pem_stores_become_an_ssl_context(ca: trustme.CA, leaf: trustme.LeafCert, tmp_path: Path) -> None:
    trust = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(trust)
    chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems).decode()
    found = connect(
        {
            "protocol": "SSL",
            "ssl": {
                "truststore": {"type": "PEM", "location": str(trust)},
                "keystore": {"type": "PEM", "key": leaf.private_key_pem.bytes().decode(), "certificateChain": chain},
            },
        }
    )
    context = found.client_options()["ssl_context"]
    assert isinstance(context, ssl.SSLContext)
    assert context.check_hostname
    assert len(context.get_ca_certs()) == 1
    assert found.ssl_context is context
    assert found.faust_credentials() is context
    assert "PRIVATE KEY" not in repr(found)


def test_pkcs12_stores_become_an_ssl_context(ca: trustme.CA, leaf: trustme.LeafCert, tmp_path: Path) -> None:
    certificate = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes())
    authority = x509.load_pem_x509_certificate(ca.cert_pem.bytes())
    key = serialization.load_pem_private_key(leaf.private_key_pem.bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    encryption = serialization.BestAvailableEncryption(b"changeit")
    store = pkcs12.serialize_key_and_certificates(b"me", key, certificate, [authority], encryption)
    file = tmp_path / "client.p12"
    file.write_bytes(store)
    ssl_block = {
        "trustStore": {"type": "PKCS12", "content": base64.encodebytes(store).decode(), "password": "changeit"},
        "keyStore": {"type": "PKCS12", "location": str(file), "password": "changeit"},
    }
    found = connect({"protocol": "SSL", "ssl": ssl_block})
    assert found.ssl_context is not None
    assert len(found.ssl_context.get_ca_certs()) == 1
    ssl_block["keyStore"]["password"] = "hunter2"
    text = problem({"protocol": "SSL", "ssl": ssl_block})
    assert text == "security.ssl.keyStore.location: is not a PKCS12 store, or its password is wrong"


def test_a_key_that_does_not_fit_its_certificate_is_refused(ca: trustme.CA, leaf: trustme.LeafCert) -> None:
    other = ca.issue_cert("other.example.org")
    store = {
        "type": "PEM",
        "key": other.private_key_pem.bytes().decode(),
        "certificateChain": leaf.cert_chain_pems[0].bytes().decode(),
    }
    text = problem({"protocol": "SSL", "ssl": {"keyStore": store}})
    assert text == "security.ssl.keyStore.key: the private key does not belong to the certificate"


def test_an_encrypted_key_needs_its_password(leaf: trustme.LeafCert) -> None:
    key = serialization.load_pem_private_key(leaf.private_key_pem.bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"changeit"),
    ).decode()
    store = {"type": "PEM", "key": encrypted, "certificateChain": leaf.cert_chain_pems[0].bytes().decode()}
    assert problem({"protocol": "SSL", "ssl": {"keyStore": store}}).endswith("is encrypted and needs keyPassword")
    store["keyPassword"] = "wrong"
    assert "or the keyPassword is wrong" in problem({"protocol": "SSL", "ssl": {"keyStore": store}})
    store["keyPassword"] = "changeit"
    assert connect({"protocol": "SSL", "ssl": {"keyStore": store}}).ssl_context is not None


def test_java_key_stores_are_read() -> None:
    ssl = {
        "trustStore": {"type": "JKS", "location": str(STORES / "trust.jks"), "password": "store-secret"},
        "keyStore": {"type": "JKS", "location": str(STORES / "keys.jks"), "password": "store-secret"},
    }
    assert connect({"protocol": "SSL", "ssl": ssl}).client_options()["ssl_context"] is not None
