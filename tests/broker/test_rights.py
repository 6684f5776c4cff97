"""Workers without some ACLs of Kafka: they name the missing right, and continue when it is granted."""

import itertools
import json
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from pipeline.config.definition import Definition, parse_definition
from pipeline.runtime.rights import Right, missing_rights
from tests.support.cluster import Cluster, cluster
from tests.support.definitions import definition_document
from tests.support.principals import Grant, Kind, Principal, principal, worker_rights
from tests.support.program import Webhooks
from tests.support.recorder import Recorder, answer
from tests.support.secured import SecuredKafka
from tests.support.waiting import eventually
from tests.support.worker import Worker

pytestmark = pytest.mark.timeout(180)

Name = Callable[[str], str]
RIGHTS = worker_rights("", "", dlq="")


@dataclass
class Limited:
    """A cluster whose workers and commands run as a user with few rights. Another user creates the topics."""

    cluster: Cluster
    user: Principal
    rights: dict[str, Grant]
    definition: Definition

    async def grant_all_but(self, *names: str) -> None:
        await self.user.grant(*(grant for name, grant in self.rights.items() if name not in names))

    async def check(self) -> tuple[int, str]:
        """The output of `webhooks check`, and its exit code."""
        ended = await Webhooks(self.cluster.environment).run("check")
        return ended.code, ended.out + ended.err


@pytest.fixture
async def limited(secured: SecuredKafka, unique_name: Name, tmp_path: Path) -> AsyncIterator[Limited]:
    app = unique_name("rights")
    async with (
        principal(secured, app) as user,
        cluster(secured.broker("SCRAM-SHA-512"), app, tmp_path, partitions=2, dlq=True) as found,
    ):
        document = definition_document(user.broker, found.topic, dlq=f"{app}-dlq", entrypoint={"qos": "at-least-once"})
        path = tmp_path / "limited.json"
        path.write_text(json.dumps(document))
        found.environment["WEBHOOKS_API"] = str(path)
        yield Limited(found, user, worker_rights(app, found.topic, dlq=f"{app}-dlq"), parse_definition(document))


@pytest.mark.parametrize(
    ("missing", "says"), [("cursors-read", "TopicAuthorizationFailedError"), ("group", "GroupAuthorizationFailedError")]
)
async def test_a_command_works_without_the_rights_to_read_positions(
    limited: Limited, recorder: Recorder, missing: str, says: str
) -> None:
    await limited.cluster.subscribe(recorder, "sub-1")
    await limited.grant_all_but(missing)
    await limited.user.grant(Grant("topic", f"{limited.cluster.app}.subscriptions", "WRITE"))
    ended = await Webhooks(limited.cluster.environment).run("subscriptions", "pause", "sub-1")
    assert (ended.code, ended.out) == (0, "sub-1 updated, revision 1\n"), ended.err
    assert "partitions 0-1: the position is unknown: " in ended.err
    assert says in ended.err


async def until_line(worker: Worker, part: str) -> str:
    """Wait for a line with *part* in a worker's log, and return the first such line."""
    found: list[str] = []

    async def is_there() -> bool:
        assert worker.is_running, worker.output()[-3000:]
        found[:] = [line for line in worker.output().splitlines() if part in line]
        return bool(found)

    await eventually(is_there, within_seconds=60, says=lambda: f"no line with {part!r} in:\n{worker.output()[-3000:]}")
    return found[0]


async def until_missing(limited: Limited, *subjects: str) -> list[Right]:
    """Wait until the broker reports exactly these rights as missing, and return the output."""
    found: list[Right] = []

    async def is_so() -> bool:
        rights = await missing_rights(limited.definition, limited.cluster.app, range(limited.cluster.partitions))
        found[:] = rights.needed
        return [f"{right.subject} {right.operation}" for right in found] == list(subjects)

    await eventually(is_so, within_seconds=20, says=lambda: f"not {subjects} but {found}")
    return found


def as_grant(right: Right) -> Grant:
    """The right that the kafka-acls command in a sentence would grant."""
    words = str(right).partition(" --add ")[2].split()
    options = dict(itertools.pairwise(words))
    kind = next(kind for kind in ("topic", "group", "transactional-id", "cluster") if f"--{kind}" in words)
    operation = re.sub(r"(?<!^)(?=[A-Z])", "_", options["--operation"]).upper()
    is_prefix = options.get("--resource-pattern-type") == "prefixed"
    return Grant(cast("Kind", kind.replace("-", "_")), options.get(f"--{kind}", "kafka-cluster"), operation, is_prefix)


async def test_each_missing_right_is_reported_with_its_command(limited: Limited) -> None:
    """The test begins without rights, and grants what the messages name."""
    app, topic = limited.cluster.app, limited.cluster.topic
    missing = await until_missing(
        limited,
        f"topic {topic} READ",
        f"topic {app}.subscriptions READ",
        f"topic {app}.cursors READ",
        f"topic {app}.cursors WRITE",
        f"topic {app}-tokens-changelog READ",
        f"topic {app}-tokens-changelog WRITE",
        f"group {app} READ",
        f"transactional id {app}.cursors. WRITE",
        f"topic {app}-dlq WRITE",
    )
    code, said = await limited.check()
    assert code == 1
    # Missing rights on topics that deliveries don't need are only warnings.
    assert [line for line in said.splitlines() if "lacks" in line and not line.startswith("warn")] == [
        ("Error: " if not number else "") + str(right) for number, right in enumerate(missing)
    ]
    assert f"--allow-principal User:{limited.user.name} --operation Read --topic {topic}\n" in said

    await limited.user.grant(*map(as_grant, missing))

    await until_missing(limited)
    code, said = await limited.check()
    assert (code, "Error" in said) == (0, False)
    assert f"warn  topic {app}.subscriptions: User:{limited.user.name} lacks the right WRITE" in said


@pytest.mark.parametrize("name", sorted(RIGHTS))
async def test_each_right_of_a_worker_is_checked(limited: Limited, name: str) -> None:
    await limited.grant_all_but(name)
    missing = limited.rights[name]
    kind = missing.kind.replace("_", " ")

    [right] = await until_missing(limited, f"{kind} {missing.name} {missing.operation}")

    assert as_grant(right) == missing


async def test_topics_can_t_be_created_without_the_right_to_it(limited: Limited) -> None:
    app = limited.cluster.app
    other = f"{app}.other"
    rights = worker_rights(other, limited.cluster.topic, dlq=f"{app}-dlq")
    await limited.user.grant(*rights.values())
    webhooks = Webhooks({**limited.cluster.environment, "WEBHOOKS_APP": other})

    refused = await webhooks.run("check")

    assert refused.code == 1
    for name in (f"{other}.subscriptions", f"{other}.cursors", f"{other}-tokens-changelog"):
        assert f"topic {name}: User:{app} lacks the right CREATE" in refused.err
    await limited.user.grant(Grant("topic", other, "CREATE", is_prefix=True))
    created = await webhooks.run("check")
    assert (created.code, created.err) == (0, "")
    assert f"ok  topic {other}.cursors: created, 2 partitions" in created.out
    assert f"ok  topic {other}.cursors: exists, 2 partitions" in await webhooks.done("check")


async def test_a_worker_waits_for_the_right_to_its_group(limited: Limited, recorder: Recorder) -> None:
    found, rights = limited.cluster, limited.rights
    await limited.grant_all_but("group")
    await found.subscribe(recorder, "s")
    await found.produce([("s", b"1")])

    worker = await found.start_worker()
    line = await until_line(worker, f"group {found.app}: ")
    assert "lacks the right READ" in line
    await until_not_ready(worker, f"group {found.app}: ")
    assert (await worker.get("/health/live"))["live"]
    await limited.user.grant(rights["group"])

    await recorder.until_events(1)
    await found.until_ready()
    assert await worker.terminate() == 0
    assert "Traceback" not in worker.output()


async def test_a_worker_that_waits_for_a_right_ends_cleanly(limited: Limited) -> None:
    worker = await limited.cluster.start_worker()
    await until_line(worker, "lacks the right")

    assert await worker.terminate() == 0
    assert "Traceback" not in worker.output()


@pytest.mark.parametrize("name", ["group", "source", "cursors-write", "transactional-ids", "dlq"])
async def test_revoking_and_granting_a_right_again_loses_no_event(
    limited: Limited, recorder: Recorder, name: str
) -> None:
    found, right = limited.cluster, limited.rights[name]
    recorder.behaviours["sour"] = answer(400)
    await limited.grant_all_but()
    await found.subscribe(recorder, "sour")
    # At this level, each event needs a cursor row before its request is sent.
    await found.subscribe(recorder, "sweet", qos="at-most-once")
    worker = await found.start_worker()
    await found.until_ready()

    await limited.user.revoke(right)
    await until_not_ready(worker, f"{right.name}: User:{limited.user.name} lacks the right {right.operation}")
    await found.produce([("sour", b"no"), ("sweet", b"yes")] * 5)
    await until_line(worker, f"{right.name}: User:{limited.user.name} lacks the right {right.operation}")
    await limited.user.grant(right)

    await recorder.until_events(10, within_seconds=90)
    await limited.user.secured.broker("PLAIN").wait_for(f"{found.app}-dlq", 5)
    await found.until_ready()
    assert await worker.terminate() == 0
    assert "Traceback" not in worker.output()


async def until_not_ready(worker: Worker, part: str) -> None:
    """Return when /health/ready reports that the worker is not ready, with a reason that contains *part*."""
    found: list[str] = []

    async def is_so() -> bool:
        assert worker.is_running, worker.output()[-3000:]
        health = await worker.get("/health/ready")
        found[:] = [] if health is None else health["reasons"]
        return any(part in reason for reason in found)

    await eventually(is_so, within_seconds=40, says=lambda: f"not {part!r} but {found}\n{worker.output()[-3000:]}")
