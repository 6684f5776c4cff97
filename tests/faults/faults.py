"""The faults: each breaks something, waits and mends it again; its promise says what has to stay whole all the same."""

import random
import signal
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Final

from pipeline.model import Qos
from tests.cluster import Worker
from tests.faults.around import CUT_GROUP, faked_clock, unreachable
from tests.faults.ledger import Promise
from tests.faults.stage import PARTITIONS, SUBSCRIPTIONS, Stage

SESSION_SECONDS: Final = 15.0
"""After so long without a heartbeat the group counts a worker as dead (pipeline/app.py)."""

Do = Callable[[Stage, random.Random], Coroutine[None, None, None]]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong.

    Attributes:
        about: for the table.
        do: breaks and mends it.
        promise: what has to hold all the same.
        touches: what it does something to; faults that touch different things can happen at the same time.
        workers: that run before it.
        needs: "tokens" (subscriptions with OAuth2), "dlq-cluster" (a cluster for dead letters), "iptables" and root,
            "libfaketime".
    """

    name: str
    about: str
    do: Do
    promise: Promise
    touches: frozenset[str] | set[str]
    workers: int = 2
    needs: frozenset[str] | set[str] = frozenset()


async def nothing(stage: Stage, _: random.Random) -> None:
    """The load alone."""
    await stage.steady(6)


# ------------------------------------------------------------------- workers


def _any_worker(stage: Stage, rng: random.Random) -> Worker:
    return rng.choice(stage.workers)


async def worker_killed(stage: Stage, rng: random.Random) -> None:
    """Kill -9, and a new one is started."""
    await _any_worker(stage, rng).kill()
    await stage.steady(2)
    await stage.cluster.start_worker()
    await stage.cluster.until_ready(*stage.workers)


async def worker_frozen(stage: Stage, rng: random.Random) -> None:
    """Frozen for longer than its session, and woken up: a former owner that knows nothing of it."""
    worker = _any_worker(stage, rng)
    worker.send_signal(signal.SIGSTOP)
    await stage.steady(SESSION_SECONDS + 5)
    worker.send_signal(signal.SIGCONT)
    await stage.steady(5)


async def worker_stopped(stage: Stage, rng: random.Random) -> None:
    """SIGTERM, and a new one is started."""
    await _end_cleanly(_any_worker(stage, rng))
    await stage.cluster.start_worker()
    await stage.cluster.until_ready(*stage.workers)


async def rolling_restart(stage: Stage, _: random.Random) -> None:
    """One after the other is stopped and replaced."""
    for worker in stage.workers:
        await _end_cleanly(worker)
        await stage.cluster.start_worker()
        await stage.cluster.until_ready(*stage.workers)
        await stage.steady(1)


async def scaled(stage: Stage, _: random.Random) -> None:
    """One worker, four, two."""
    for _number in range(3):
        await stage.cluster.start_worker()
    await stage.cluster.until_ready(*stage.workers)
    await stage.steady(2)
    for worker in stage.workers[:2]:
        await _end_cleanly(worker)
    await stage.cluster.until_ready(*stage.workers)


async def _end_cleanly(worker: Worker) -> None:
    code = await worker.terminate()
    if code:
        raise AssertionError(f"a worker ended with {code}: {worker.output()[-2000:]}")


# ------------------------------------------------------------------- brokers


async def broker_killed(stage: Stage, rng: random.Random) -> None:
    """Kill -9, down for some seconds, and started again with its data."""
    number = rng.randint(1, 3)
    await stage.brokers.act("kill", number)
    await stage.steady(8)
    await stage.brokers.act("restart", number)
    await stage.steady(3)


async def broker_paused(stage: Stage, rng: random.Random) -> None:
    """Frozen for longer than its session with the controller, and woken up."""
    await _pause(stage, rng.randint(1, 3))


async def _pause(stage: Stage, number: int) -> None:
    await stage.brokers.act("pause", number)
    await stage.steady(8)
    await stage.brokers.act("resume", number)
    await stage.steady(3)


async def brokers_restarted(stage: Stage, _: random.Random) -> None:
    """All three, one after the other."""
    for number in (1, 2, 3):
        await stage.brokers.act("kill", number)
        await stage.brokers.act("restart", number)
        await stage.steady(5)


async def leader_moved(stage: Stage, rng: random.Random) -> None:
    """The leaders of one broker move away, and back to where they are preferred."""
    await broker_killed(stage, rng)
    await stage.elect_preferred()
    await stage.steady(3)


async def coordinator_paused(stage: Stage, _: random.Random) -> None:
    """The broker that coordinates the group is frozen, and woken up."""
    await _pause(stage, await stage.coordinator())


async def registry_paused(stage: Stage, _: random.Random) -> None:
    """The broker that leads the subscriptions' topic is frozen, and somebody edits a subscription afterwards."""
    await _pause(stage, await stage.leader_of(f"{stage.cluster.app}.subscriptions"))
    await stage.cluster.store.resume(SUBSCRIPTIONS[Qos.AT_LEAST_ONCE][0])


# ------------------------------------------------------------------- topics


async def partitions_added(stage: Stage, _: random.Random) -> None:
    """The source topic gets half as many partitions more."""
    stage.cluster.partitions += PARTITIONS // 2
    await stage.broker.add_partitions(stage.cluster.topic, stage.cluster.partitions)
    await stage.cluster.until_ready(*stage.workers)
    await stage.steady(3)


async def dead_letters_refused(stage: Stage, rng: random.Random) -> None:
    """The dead-letter topic takes no writes while the receiver rejects."""
    await _reject_while_read_only(stage, f"{stage.cluster.app}-dlq", rng)


async def rows_refused(stage: Stage, rng: random.Random) -> None:
    """The topic of the cursor rows takes no writes while the receiver rejects."""
    await _reject_while_read_only(stage, f"{stage.cluster.app}.cursors", rng)


async def _reject_while_read_only(stage: Stage, topic: str, rng: random.Random) -> None:
    """The topic demands three replicas in sync, the others two; and one of three brokers is down."""
    leader = await stage.leader_of(topic)
    number = rng.choice([each for each in (1, 2, 3) if each != leader])
    await stage.demand_replicas(topic, 3)
    await stage.receiver.behave(name="reject", share=0.2)
    await stage.brokers.act("kill", number)
    await stage.until_in_sync(topic, 2)
    await stage.steady(8)
    await stage.brokers.act("restart", number)
    await stage.until_in_sync(topic, 3)
    await stage.demand_replicas(topic, 2)
    await stage.receiver.behave(name="ok")


async def dead_letter_cluster_down(stage: Stage, _: random.Random) -> None:
    """The dead letters' own cluster is killed while the receiver rejects, and comes back."""
    assert stage.dlq_brokers is not None
    await stage.receiver.behave(name="reject", share=0.2)
    await stage.dlq_brokers.act("kill", 1)
    await stage.steady(8)
    await stage.dlq_brokers.act("restart", 1)
    await stage.steady(2)
    await stage.receiver.behave(name="ok")


# ------------------------------------------------------------------- the world around


async def cut_off(stage: Stage, _: random.Random) -> None:
    """A worker can't reach the brokers for longer than its session, and still reaches the receiver."""
    worker = await stage.cluster.start_worker(group=CUT_GROUP)
    await stage.cluster.until_ready(*stage.workers)
    async with unreachable(stage.brokers.ports, CUT_GROUP):
        await stage.steady(SESSION_SECONDS + 7)
    await stage.steady(5)
    # It may have left by itself: its supervisor would have started it again.
    if worker.is_running:
        await stage.cluster.until_ready(*stage.workers)


async def clock_jumps(stage: Stage, _: random.Random) -> None:
    """A worker's clock jumps an hour ahead, and two back."""
    offset = stage.cluster.folder / "clock"
    offset.write_text("+0")
    await stage.cluster.start_worker(environment=faked_clock(offset))
    await stage.cluster.until_ready(*stage.workers)
    for jump in ("+3600", "-3600", "+0"):
        offset.write_text(jump)
        await stage.steady(4)


# ------------------------------------------------------------------- receivers


async def receiver_down(stage: Stage, _: random.Random) -> None:
    """Nobody listens for some seconds."""
    await stage.receiver.behave(name="down")
    await stage.steady(6)
    await stage.receiver.behave(name="ok")


async def receiver_hanging(stage: Stage, _: random.Random) -> None:
    """Half of the subscriptions' requests are taken and not answered."""
    await stage.receiver.behave(name="hang", only="odd")
    await stage.steady(8)
    await stage.receiver.behave(name="ok")


async def receiver_flapping(stage: Stage, _: random.Random) -> None:
    """Down and up again, five times."""
    for _number in range(5):
        await stage.receiver.behave(name="down")
        await stage.steady(0.7)
        await stage.receiver.behave(name="ok")
        await stage.steady(0.7)


async def receiver_slow(stage: Stage, _: random.Random) -> None:
    """Half of the subscriptions are answered after half a second."""
    await stage.receiver.behave(name="slow", seconds=0.5, only="odd")
    await stage.steady(8)
    await stage.receiver.behave(name="ok")


async def receiver_failing(stage: Stage, _: random.Random) -> None:
    """Every second answer is 503."""
    await stage.receiver.behave(name="errors", share=0.5)
    await stage.steady(6)
    await stage.receiver.behave(name="ok")


async def receiver_rejecting(stage: Stage, _: random.Random) -> None:
    """Every fifth answer is 422: dead letters."""
    await stage.receiver.behave(name="reject", share=0.2)
    await stage.steady(6)
    await stage.receiver.behave(name="ok")


# ------------------------------------------------------------------- token endpoints


async def tokens_down(stage: Stage, _: random.Random) -> None:
    """The token endpoint answers 503."""
    await _tokens(stage, "down")


async def tokens_slow(stage: Stage, _: random.Random) -> None:
    """The token endpoint takes two seconds for each answer."""
    await _tokens(stage, "slow")


async def tokens_wrong(stage: Stage, _: random.Random) -> None:
    """The token endpoint answers nonsense: FAILURE, and somebody resumes."""
    await _tokens(stage, "wrong")
    await stage.resume_failed()


async def tokens_refused(stage: Stage, _: random.Random) -> None:
    """The token endpoint refuses the credentials: FAILURE, and somebody resumes."""
    await _tokens(stage, "refuse")
    await stage.resume_failed()


async def _tokens(stage: Stage, mode: str) -> None:
    await stage.receiver.behave(tokens=mode)
    await stage.steady(8)
    await stage.receiver.behave(tokens="ok")
    await stage.steady(2)


_EACH: Final = len(SUBSCRIPTIONS[Qos.AT_MOST_ONCE])
CLEAN: Final = Promise()
REFUSED: Final = Promise(refused=True)
INTERRUPTED: Final = Promise(interrupted=True, lost_at_most_once=_EACH)
WOKEN: Final = Promise(interrupted=True, lost_at_most_once=_EACH, late_at_most_once=_EACH)

_WORKERS: Final = {"workers"}
_BROKERS: Final = {"brokers"}
_RECEIVER: Final = {"receiver"}
_TOPIC: Final = {"topics"}

_ALL: Final = (
    Fault("none", "no fault", nothing, CLEAN, set()),
    # Workers.
    Fault("worker-killed", "a worker: kill -9", worker_killed, INTERRUPTED, _WORKERS),
    Fault("worker-frozen", "a worker: SIGSTOP for 20 s, SIGCONT", worker_frozen, WOKEN, _WORKERS),
    Fault("worker-stopped", "a worker: SIGTERM", worker_stopped, CLEAN, _WORKERS),
    Fault("rolling-restart", "workers: rolling restart", rolling_restart, CLEAN, _WORKERS),
    Fault("scaled", "workers: 1, 4, 2", scaled, CLEAN, _WORKERS, workers=1),
    # Brokers.
    Fault("broker-killed", "a broker: kill -9, restart", broker_killed, INTERRUPTED, _BROKERS),
    Fault("broker-paused", "a broker: paused for 8 s", broker_paused, INTERRUPTED, _BROKERS),
    Fault(
        "brokers-restarted",
        "brokers: rolling restart of all three",
        brokers_restarted,
        INTERRUPTED + INTERRUPTED + INTERRUPTED,
        _BROKERS,
    ),
    Fault("leader-moved", "leaders moved away and back", leader_moved, INTERRUPTED, _BROKERS),
    Fault("coordinator-paused", "the group's coordinator: paused for 8 s", coordinator_paused, INTERRUPTED, _BROKERS),
    Fault(
        "registry-paused",
        "the leader of the subscriptions' topic: paused for 8 s",
        registry_paused,
        INTERRUPTED,
        _BROKERS,
    ),
    # Topics.
    Fault("partitions-added", "partitions added to the source topic: 8 to 12", partitions_added, CLEAN, _TOPIC),
    Fault(
        "dead-letters-refused",
        "dead-letter topic: takes no writes for 8 s, with a broker down",
        dead_letters_refused,
        INTERRUPTED,
        _TOPIC | _RECEIVER | _BROKERS,
    ),
    Fault(
        "dead-letter-cluster",
        "dead letters' own cluster: kill -9, restart",
        dead_letter_cluster_down,
        INTERRUPTED,
        _TOPIC | _RECEIVER,
        needs={"dlq-cluster"},
    ),
    Fault(
        "rows-refused",
        "cursor rows: their topic takes no writes for 8 s, with a broker down",
        rows_refused,
        INTERRUPTED,
        _TOPIC | _RECEIVER | _BROKERS,
    ),
    # The world around.
    Fault(
        "cut-off",
        "network: a worker cut off from the brokers for 22 s",
        cut_off,
        WOKEN,
        _WORKERS,
        needs={"iptables"},
    ),
    Fault(
        "clock-jumps",
        "a worker's clock: one hour ahead, two back",
        clock_jumps,
        CLEAN,
        _WORKERS,
        needs={"libfaketime"},
    ),
    # Token endpoints.
    Fault("tokens-down", "token endpoint: 503 for 8 s", tokens_down, CLEAN, _RECEIVER, needs={"tokens"}),
    Fault("tokens-slow", "token endpoint: 2 s for each answer", tokens_slow, CLEAN, _RECEIVER, needs={"tokens"}),
    Fault(
        "tokens-wrong",
        "token endpoint: nonsense for 8 s, then resumed",
        tokens_wrong,
        REFUSED,
        _RECEIVER,
        needs={"tokens"},
    ),
    Fault(
        "tokens-refused",
        "token endpoint: refuses for 8 s, then resumed",
        tokens_refused,
        REFUSED,
        _RECEIVER,
        needs={"tokens"},
    ),
    # Receivers. One that goes down breaks connections: a request on its way counts as sent.
    Fault("receiver-down", "receiver: down for 6 s", receiver_down, INTERRUPTED, _RECEIVER),
    Fault("receiver-hanging", "receiver: half of it hangs for 8 s", receiver_hanging, REFUSED, _RECEIVER),
    Fault(
        "receiver-flapping",
        "receiver: down and up, five times",
        receiver_flapping,
        Promise(interrupted=True, lost_at_most_once=5 * _EACH),
        _RECEIVER,
    ),
    Fault("receiver-slow", "receiver: half of it answers after 0.5 s", receiver_slow, CLEAN, _RECEIVER),
    Fault("receiver-failing", "receiver: every second answer is 503", receiver_failing, REFUSED, _RECEIVER),
    Fault("receiver-rejecting", "receiver: every fifth answer is 422", receiver_rejecting, REFUSED, _RECEIVER),
)
FAULTS: Final = {fault.name: fault for fault in _ALL}
