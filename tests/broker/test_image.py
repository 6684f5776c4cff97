"""Builds and runs the image of deploy/Dockerfile: a worker in it delivers an event, is healthy, and stops cleanly."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import docker
import pytest
import yaml
from docker.errors import DockerException
from docker.models.containers import Container

from tests.support.brokers import TestBroker
from tests.support.cluster import cluster
from tests.support.containers import absent, collect_sockets, docker_expected
from tests.support.debian import debian_image
from tests.support.free_ports import free_port
from tests.support.waiting import eventually

ROOT: Final = Path(__file__).parents[2]
IMAGE: Final = "webhook-pipeline/test-image"
LABEL: Final = "webhook-pipeline.test"
START_SECONDS: Final = 60.0

WORKER: Final = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]["worker-1"]
CONFINED: Final = {
    "read_only": WORKER["read_only"],
    "cap_drop": WORKER["cap_drop"],
    "security_opt": WORKER["security_opt"],
    "tmpfs": dict(folder.partition(":")[::2] for folder in WORKER["tmpfs"]),
}
"""The restrictions of compose.yaml for workers, which this file uses for every container."""

# The first build fetches a Debian and every dependency.
pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

Start = Callable[..., Container]


@pytest.fixture(scope="module")
def engine() -> Iterator[docker.DockerClient]:
    client = connected()
    if isinstance(client, str):
        collect_sockets()
        absent(f"no Docker engine answers: {client}", expected=docker_expected())
    yield client
    client.close()


def connected() -> docker.DockerClient | str:
    """A client of the Docker engine, or the reason why the engine does not answer."""
    try:
        client = docker.from_env(timeout=300)
        client.ping()
    except DockerException as error:
        return str(error)
    return client


@pytest.fixture(scope="module")
def image(engine: docker.DockerClient) -> str:
    base = debian_image(engine)
    recipe = {"path": str(ROOT), "dockerfile": "deploy/Dockerfile", "buildargs": {"BASE": base}, "rm": True}
    # The stage gets a tag, too. Without one, an unused image would be left after each change.
    engine.images.build(**recipe, target="build", tag=f"{IMAGE}-stage", labels={LABEL: ""})
    engine.images.build(**recipe, tag=IMAGE, labels={LABEL: ""})
    # The images of the previous run have lost their tags to the new images.
    engine.images.prune(filters={"dangling": True, "label": LABEL})
    return IMAGE


@pytest.fixture
def start(engine: docker.DockerClient, image: str) -> Iterator[Start]:
    """Start a container with the host's network, because the broker and the receiver are on loopback."""
    with ExitStack() as stack:

        def run(*command: str, **options: object) -> Container:
            options = {**CONFINED, **options}
            container = engine.containers.run(image, list(command), detach=True, network_mode="host", **options)
            stack.callback(container.remove, force=True)
            return container

        yield run


def is_healthy(container: Container) -> bool:
    container.reload()
    assert container.status == "running", log(container)
    return str(container.attrs["State"]["Health"]["Status"]) == "healthy"


def log(container: Container) -> str:
    return str(container.logs(tail=60).decode())


async def test_a_worker_in_the_image_delivers_and_stops(
    start: Start, kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    port = free_port()
    receiver = start(str(port), entrypoint=["python", "/opt/webhooks/share/receiver.py"])
    async with cluster(kafka, unique_name("image"), tmp_path) as app:
        worker = start(
            volumes={app.environment["WEBHOOKS_API"]: {"bind": "/etc/webhooks/api.json", "mode": "ro"}},
            environment={
                **app.environment,
                "WEBHOOKS_API": "/etc/webhooks/api.json",
                "WEBHOOKS_WEB_BIND": "127.0.0.1",
                "WEBHOOKS_WEB_PORT": str(free_port()),
            },
        )
        await eventually(
            lambda: asyncio.to_thread(is_healthy, worker), within_seconds=START_SECONDS, says=lambda: log(worker)
        )
        assert worker.exec_run(["id", "--user"]).output.strip() == b"10001"
        assert [command[-1].split()[-2:] for command in worker.top()["Processes"]] == [
            ["/opt/webhooks/bin/webhooks", "worker"]
        ]

        endpoint = {"callbackUrl": f"http://127.0.0.1:{port}/orders"}
        await app.store.apply({"id": "sub-1", "configuration": {"entrypointConfiguration": endpoint}})
        await app.produce([("sub-1", b'{"order": 7}')])

        async def is_delivered() -> bool:
            return '{"order": 7}' in log(receiver)

        await eventually(is_delivered, within_seconds=START_SECONDS, says=lambda: log(worker))
        assert log(receiver).count("200 POST '/orders' subscription='sub-1'") == 1
        worker.stop(timeout=60)
        assert worker.wait()["StatusCode"] == 0, log(worker)


async def test_the_image_creates_topics(start: Start, kafka: TestBroker, unique_name: Callable[[str], str]) -> None:
    topic = unique_name("events")
    script = ["python", "/opt/webhooks/share/create_topics.py"]

    created = start(kafka.bootstrap, f"{topic}:2", entrypoint=script)
    assert created.wait()["StatusCode"] == 0, log(created)
    async with kafka.producer() as producer:
        assert await producer.partitions_for(topic) == {0, 1}

    assert start(kafka.bootstrap, f"{topic}:2", entrypoint=script).wait()["StatusCode"] == 0
    refused = start(kafka.bootstrap, f"{topic}:3", entrypoint=script)
    assert refused.wait()["StatusCode"] == 1
    assert f"{topic}: has 2 partitions, not 3" in log(refused)


async def test_the_image_has_no_broker_for_tests(start: Start) -> None:
    dev = start("dev")

    assert dev.wait()["StatusCode"] == 1
    assert "the embedded broker needs confluent-kafka: pip install 'webhook-pipeline[dev-broker]'" in log(dev)


async def test_the_image_keeps_no_files_of_apt(start: Start) -> None:
    # apt's directory "partial" is empty. A root without capabilities can't read it.
    kept = ["-name", "partial", "-prune", "-o", "-type", "f", "-size", "+0", "-print"]
    listed = start("/var/cache/apt", "/var/lib/apt/lists", *kept, entrypoint=["find"], user="0", working_dir="/")

    assert listed.wait()["StatusCode"] == 0
    assert log(listed) == ""
