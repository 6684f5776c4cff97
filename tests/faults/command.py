"""The command line of the fault runs: runs faults, judges the log of a receiver, writes the table.

python -m tests.faults run [--routing match] [--topics 2] [--fault NAME]... [--runs N] [--seed S]
python -m tests.faults mixture [--routing match] [--topics 2] [--seconds N] [--seed S]
python -m tests.faults upgrade --from REF [--routing match] [--seed S]
python -m tests.faults verify --bootstrap HOST:PORT --topic T --dead-letters T --calls FILE --level at-least-once
python -m tests.faults table
"""

import argparse
import asyncio
import json
import logging
import random
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from pipeline.core.subscription import Qos, Routing
from tests.faults.around import RARE, available
from tests.faults.backlog import big_backlog, line
from tests.faults.evidence import calls_of, events_of, letters_of
from tests.faults.faults import FAULTS
from tests.faults.ledger import Promise, judge, strangers
from tests.faults.run import Result, mixture, run
from tests.faults.soak import soak
from tests.faults.stage import STARTER, Brokers, starter
from tests.faults.table import write
from tests.faults.upgrade import install, upgrade
from tests.support.brokers import TestBroker

RESULTS: Final = Path(__file__).parent / "results.jsonl"
BACKLOGS: Final = Path(__file__).parent / "backlogs.jsonl"
SOAKS: Final = Path(__file__).parent / "soaks.jsonl"
UPGRADES: Final = Path(__file__).parent / "upgrades.jsonl"


@asynccontextmanager
async def three_brokers(folder: Path) -> AsyncIterator[Brokers]:
    """Start three brokers for this run."""
    program = starter()
    if program is None:
        raise SystemExit(f"{STARTER} has to name a program that starts and breaks brokers (tests/faults/README.md)")
    brokers = Brokers(program, folder / "kafka")
    await brokers.start()
    try:
        yield brokers
    finally:
        await brokers.stop()


async def _run(arguments: argparse.Namespace, folder: Path) -> int:
    names: Sequence[str] = arguments.fault or list(FAULTS)
    routing, first = Routing(arguments.routing), arguments.seed
    has = available() | ({"match"} if routing is Routing.MATCH else set())
    broken = 0
    async with three_brokers(folder) as brokers:
        for seed in range(first, first + arguments.runs):
            for name in names:
                if lacking := FAULTS[name].needs & (RARE | {"match"}) - has:
                    sys.stderr.write(f"{name} is passed over: it needs {', '.join(sorted(lacking))}\n")
                    continue
                place = folder / f"{name}-{seed}"
                try:
                    result = await run(
                        brokers,
                        place,
                        FAULTS[name],
                        seed,
                        routing,
                        topics=arguments.topics,
                        per_second=arguments.events_per_second,
                    )
                except Exception as error:  # noqa: BLE001 - the other faults are run whatever happens
                    # A worker did not start, or the evidence could not be read. This is as bad as a loss, but the other
                    # faults are still run.
                    problem = f"did not come to a verdict: {error!r}"
                    result = Result(name, seed, 0.0, 0, 0, 0, 0, {}, [problem], routing, arguments.topics)
                broken += _report(result)
    return broken


async def _mixture(arguments: argparse.Namespace, folder: Path) -> int:
    seed, routing = arguments.seed, Routing(arguments.routing)
    async with three_brokers(folder) as brokers:
        result = await mixture(
            brokers,
            folder / f"mixture-{seed}",
            seed,
            routing,
            seconds=arguments.seconds,
            topics=arguments.topics,
            per_second=arguments.events_per_second,
        )
        return _report(result)


async def _upgrade(arguments: argparse.Namespace, folder: Path) -> int:
    fault = upgrade(await install(arguments.ref, folder / "older"))
    routing = Routing(arguments.routing)
    async with three_brokers(folder) as brokers:
        result = await run(
            brokers, folder / "upgrade", fault, arguments.seed, routing, per_second=arguments.events_per_second
        )
    return _report(result, UPGRADES, {"from": arguments.ref})


async def _soak(arguments: argparse.Namespace, folder: Path) -> int:
    seconds, seed = arguments.seconds, arguments.seed
    async with three_brokers(folder) as brokers:
        result, watched = await soak(brokers, folder / f"soak-{seed}", seed, seconds=seconds, per_second=150.0)
        line = {**result.line(), "soak": watched.summary(), "notFlat": watched.problems()}
        with SOAKS.open("a") as file:
            file.write(json.dumps(line) + "\n")
        sys.stdout.write(json.dumps(line) + "\n")
        return len(result.problems) + len(watched.problems())


async def _backlog(arguments: argparse.Namespace, folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - nothing else is under way
    found = await big_backlog(
        TestBroker(arguments.bootstrap),
        folder,
        events=arguments.events,
        subscriptions=arguments.subscriptions,
        stopped=arguments.stopped,
    )
    sys.stdout.write(json.dumps(line(found)) + "\n")
    with BACKLOGS.open("a") as file:
        file.write(json.dumps(line(found)) + "\n")
    return found.lost + found.repeated + found.misordered


def _report(result: Result, into: Path = RESULTS, more: Mapping[str, str] | None = None) -> int:
    line = {**result.line(), **(more or {})}
    with into.open("a") as file:
        file.write(json.dumps(line) + "\n")
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
    return len(result.problems)


async def _verify(arguments: argparse.Namespace) -> int:
    broker = TestBroker(arguments.bootstrap)
    events = await events_of(broker, arguments.topic)
    letters = await letters_of(broker, arguments.dead_letters) if arguments.dead_letters else []
    calls = calls_of(Path(arguments.calls))
    level = Qos(arguments.level)
    verdicts = judge(events, calls, letters, {event.subscription: level for event in events})
    for qos, verdict in verdicts.items():
        sys.stdout.write(f"{qos}: {verdict}, p50 {verdict.quantile(0.5):.3f} s, p99 {verdict.quantile(0.99):.3f} s\n")
    # The faults of this log are unknown, so only the promises that hold with every fault are checked.
    crashes: int = arguments.crashes
    anything = Promise(interrupted=True, refused=True, lost_at_most_once=crashes, late_at_most_once=crashes)
    problems = anything.broken(verdicts)
    if unknown := strangers(events, calls, letters):
        problems.append(f"{len(unknown)} calls are of no event, or not for them: {', '.join(map(str, unknown[:5]))}")
    sys.stdout.writelines(f"{problem}\n" for problem in problems)
    return len(problems)


def main() -> None:
    """Run the command line. The exit code is 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    single = commands.add_parser("run", help="run faults one at a time, each in the middle of a load")
    single.add_argument("--fault", action="append", choices=list(FAULTS), help="run this fault; by default all faults")
    single.add_argument("--runs", type=int, default=1)
    mixed = commands.add_parser("mixture", help="run faults that the seed selects, one after another")
    mixed.add_argument("--seconds", type=float, default=180.0)
    long = commands.add_parser("soak", help="run faults for an hour, and measure the resources that workers use")
    long.add_argument("--seconds", type=float, default=3600.0)
    big = commands.add_parser(
        "backlog", help="measure a big backlog, with stopped subscriptions that are resumed one by one"
    )
    big.add_argument("--bootstrap", required=True)
    big.add_argument("--events", type=int, default=5_000_000)
    big.add_argument("--subscriptions", type=int, default=1000)
    big.add_argument("--stopped", type=int, default=100)
    upgraded = commands.add_parser("upgrade", help="replace workers of an older build by workers of this build")
    upgraded.add_argument("--from", dest="ref", required=True, help="the git ref of the older build")
    for each in (single, mixed):
        each.add_argument("--topics", type=int, default=1, help="the number of source topics")
    for each in (single, mixed, upgraded):
        each.add_argument(
            "--events-per-second", type=float, help="the rate of the load; the default depends on the routing"
        )
    for each in (single, mixed, upgraded):
        each.add_argument("--routing", choices=[routing.value for routing in Routing], default=Routing.KEY.value)
    for each in (single, mixed, upgraded, long, big):
        each.add_argument("--seed", type=int, default=random.randrange(1_000_000))
        each.add_argument("--folder", type=Path, help="a directory in which the logs of workers and receiver are kept")
    verify = commands.add_parser("verify", help="judge the log of a receiver (receiver.py)")
    for name in ("bootstrap", "topic", "calls"):
        verify.add_argument(f"--{name}", required=True)
    verify.add_argument("--dead-letters")
    verify.add_argument("--level", choices=[qos.value for qos in Qos], default=Qos.AT_LEAST_ONCE.value)
    verify.add_argument("--crashes", type=int, default=1, help="how often a worker was killed, paused or cut off")
    commands.add_parser("table", help="write the table of README.md from results.jsonl")
    arguments = parser.parse_args()
    if arguments.command == "table":
        write(RESULTS)
        return
    if arguments.command == "verify":
        raise SystemExit(1 if asyncio.run(_verify(arguments)) else 0)
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="faults-"))
    folder.mkdir(parents=True, exist_ok=True)
    # The clients of the load log that brokers are unavailable, which is expected.
    logging.basicConfig(filename=folder / "clients.log", level=logging.WARNING)
    sys.stderr.write(f"seed {arguments.seed}, logs in {folder}\n")
    do = {"run": _run, "mixture": _mixture, "upgrade": _upgrade, "soak": _soak, "backlog": _backlog}
    raise SystemExit(1 if asyncio.run(do[arguments.command](arguments, folder)) else 0)
