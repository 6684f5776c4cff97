"""Secured clusters (logins, certificate authorities, dead letters in another cluster), and a secured web view."""

from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from aiohttp import ClientSession
from aiokafka.admin import AIOKafkaAdminClient

from tests.support.brokers import TestBroker
from tests.support.cluster import Cluster, cluster
from tests.support.definitions import definition_document
from tests.support.issuer import SigningKey, key_set, publishing
from tests.support.program import Webhooks, write_application
from tests.support.recorder import Recorder, answer
from tests.support.secured import MECHANISMS, SecuredKafka

pytestmark = pytest.mark.timeout(120)

Name = Callable[[str], str]

WRONG_PASSWORD = "planted-wrong-password"
TALKATIVE = {"LOG_LEVEL": "DEBUG"}
"""Secrets are searched at the most verbose log level."""
COMMANDS = [["check"], ["worker", "--without-web"]]


@pytest.fixture(params=MECHANISMS)
def source(secured: SecuredKafka, request: pytest.FixtureRequest) -> TestBroker:
    return secured.broker(str(request.param))


async def topics(broker: TestBroker, app: str) -> set[str]:
    """The topics of an application on a cluster, without the application's name."""
    admin = AIOKafkaAdminClient(**broker.connection.client_options())
    try:
        await admin.start()
        return {name.removeprefix(app) for name in await admin.list_topics() if name.startswith(app)}
    finally:
        await admin.close()


def has_password(output: str, broker: TestBroker) -> bool:
    assert broker.security is not None
    return str(broker.security["sasl"]["password"]) in output


async def deliver_and_reject(found: Cluster, recorder: Recorder, letters: TestBroker) -> None:
    """Check that a worker delivers an accepted event, and dead-letters a rejected one."""
    worker = await found.start_worker()
    await found.until_ready()
    recorder.behaviours["sour"] = answer(400)
    await found.subscribe(recorder, "sweet", "sour")
    await found.produce([("sour", b"no"), ("sweet", b"yes")])

    (dead,) = await letters.wait_for(f"{found.app}-dlq", 1)
    await recorder.until_events(2)

    assert [call.body for call in recorder.of("sweet")] == [b"yes"]
    assert (dead.key, dead.value, dict(dead.headers)["dlq.topic"]) == (b"sour", b"no", found.topic.encode())
    assert await worker.terminate() == 0
    assert "ERROR" not in worker.output()


async def test_a_secured_source_and_plain_dead_letters_work_together(
    source: TestBroker, kafka: TestBroker, unique_name: Name, tmp_path: Path, recorder: Recorder
) -> None:
    app = unique_name("secured")
    async with cluster(source, app, tmp_path, dlq=True, dlq_broker=kafka, settings=TALKATIVE) as found:
        await deliver_and_reject(found, recorder, kafka)

        assert not has_password(found.workers[0].output(), source)
    beside = {".workers", ".attempts", ".audit", ".events"}  # topics that deliveries do not need
    assert await topics(source, app) == {"-events", ".subscriptions", ".cursors", "-tokens-changelog", *beside}
    assert await topics(kafka, app) == {"-dlq"}


async def test_a_plain_source_and_secured_dead_letters_work_together(
    secured: SecuredKafka, kafka: TestBroker, unique_name: Name, tmp_path: Path, recorder: Recorder
) -> None:
    letters, app = secured.broker("SCRAM-SHA-512"), unique_name("secured-dlq")
    async with cluster(kafka, app, tmp_path, dlq=True, dlq_broker=letters, settings=TALKATIVE) as found:
        await deliver_and_reject(found, recorder, letters)

        assert not has_password(found.workers[0].output(), letters)
    assert await topics(letters, app) == {"-dlq"}


def program(folder: Path, source: TestBroker) -> Webhooks:
    """The program with verbose logs. Its topics don't exist, so the program must end before it looks for them."""
    webhooks = write_application(folder, "secured", definition_document(source, "events"))
    return Webhooks({**webhooks.environment, "WEBHOOKS_LOG_LEVEL": "DEBUG"})


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("mechanism", MECHANISMS)
async def test_a_wrong_password_is_reported_and_not_shown(
    secured: SecuredKafka, mechanism: str, command: list[str], tmp_path: Path
) -> None:
    source = TestBroker(secured.address, security=secured.security(mechanism, password=WRONG_PASSWORD))

    ended = await program(tmp_path, source).run(*command)

    assert ended.code == 1
    assert ended.err.splitlines()[-1] == (
        f"Error: Kafka at {secured.address} can't be used: it refuses the login of {secured.username} with {mechanism}"
    )
    assert "Traceback" not in ended.err
    assert not has_password(ended.out + ended.err, source)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
async def test_an_unknown_authority_is_reported_in_a_sentence(
    secured: SecuredKafka, command: list[str], tmp_path: Path
) -> None:
    if not secured.has_tls:
        pytest.skip(f"the secured Kafka of this run has no certificate: it speaks {secured.protocol}")
    other = tmp_path / "other-ca.pem"
    trustme.CA().cert_pem.write_to_path(other)
    source = TestBroker(secured.address, security=secured.security("SCRAM-SHA-512", ca=other))

    ended = await program(tmp_path, source).run(*command)

    assert ended.code == 1
    last = ended.err.splitlines()[-1]
    assert last.startswith(f"Error: Kafka at {secured.address} can't be used: its certificate is not trusted (")
    assert last.endswith("); add its authority to security.ssl.trustStore")
    assert "Traceback" not in ended.err
    assert not has_password(ended.out + ended.err, source)


async def test_a_wrong_protocol_is_reported_in_a_sentence(secured: SecuredKafka, tmp_path: Path) -> None:
    for protocol in {"PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"} - {secured.protocol}:
        source = TestBroker(secured.address, security={**secured.security("PLAIN"), "protocol": protocol})

        ended = await program(tmp_path, source).run("check")

        assert ended.code == 1
        assert ended.err.splitlines()[-1].endswith(f"; its protocol is probably not {protocol}")
        assert "Traceback" not in ended.err
        assert not has_password(ended.out + ended.err, source)


async def test_a_wrong_password_names_the_cluster_of_dead_letters(
    secured: SecuredKafka, kafka: TestBroker, unique_name: Name, tmp_path: Path
) -> None:
    topic = await kafka.create_topic(unique_name("events"), 1)
    letters = TestBroker(secured.address, security=secured.security("SCRAM-SHA-256", password=WRONG_PASSWORD))
    document = definition_document(kafka, topic, dlq="letters", dlq_broker=letters)

    ended = await write_application(tmp_path, topic, document).run("check", "--no-create")

    assert ended.code == 1
    assert f"Error: Kafka at {secured.address} can't be used: it refuses the login" in ended.err
    assert not has_password(ended.out + ended.err, letters)


async def test_a_token_signed_by_a_published_key_opens_the_pages(
    broker: TestBroker, unique_name: Name, tmp_path: Path
) -> None:
    key, other = SigningKey.make("a"), SigningKey.make("b")
    async with (
        publishing(key_set(key)) as keys,
        cluster(broker, unique_name("keys"), tmp_path, settings={"ADMIN_JWKS": keys.url}) as found,
        ClientSession() as session,
    ):
        worker = await found.start_worker()
        await found.until_ready()
        for token, status in ((key.token(aud=found.app), 200), (key.token(aud="x"), 401), (other.token(), 401)):
            headers = {"Authorization": f"Bearer {token}"}
            async with session.get(f"http://127.0.0.1:{worker.port}/lanes", headers=headers) as response:
                assert response.status == status
