"""The token table on a real Kafka: one real Faust application writes it, another one reads it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import faust
import pytest
from cryptography.fernet import Fernet
from faust.types import StreamT

from pipeline.auth.access_token import AccessToken, fingerprint
from pipeline.auth.token_cache import TokenCache
from pipeline.auth.token_store import StoredTokens, partition_of
from pipeline.core.errors import BrokerError
from pipeline.runtime.token_table import TokenTable, add_token_table
from pipeline.subscriptions.secrets import SecretBox
from tests.support.brokers import TestBroker
from tests.support.tokens import CREDENTIALS, Issuer, ManualClock, Tally, subscription

PARTITIONS = 4
KEY = fingerprint(CREDENTIALS)
START_SECONDS = 30.0


class Deployment:
    """One application whose workers start and stop."""

    def __init__(self, broker: TestBroker, name: str, folder: Path) -> None:
        self.broker, self.name, self._folder = broker, name, folder
        self.box = SecretBox([Fernet.generate_key().decode()])
        self._workers = 0

    @property
    def changelog(self) -> str:
        return f"{self.name}-tokens-changelog"

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[tuple[TokenTable, StoredTokens]]:
        """Run a worker until the end of the block. Its table has recovered when the block begins."""
        self._workers += 1
        app = faust.App(
            self.name,
            broker=f"kafka://{self.broker.bootstrap}",
            store="memory://",
            datadir=self._folder / f"worker-{self._workers}",
            web_enabled=False,
            topic_disable_leader=True,
            topic_replication_factor=1,
            topic_partitions=PARTITIONS,
            table_standby_replicas=0,
            stream_wait_empty=False,
            key_serializer="raw",
            value_serializer="raw",
        )
        table = add_token_table(app)
        app.agent(app.topic(f"{self.name}-events", partitions=PARTITIONS))(_ignore)
        recovered = asyncio.Event()

        async def on_recover() -> None:
            recovered.set()

        table.on_recover(on_recover)
        await app.start()
        try:
            async with asyncio.timeout(START_SECONDS):
                await recovered.wait()
            yield table, StoredTokens(table, self.box)
        finally:
            await app.stop()


async def _ignore(events: StreamT[bytes]) -> None:
    async for _ in events:
        pass


@pytest.fixture
async def deployment(kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path) -> Deployment:
    name = unique_name("token-table")
    await kafka.create_topic(f"{name}-events", PARTITIONS)
    return Deployment(kafka, name, tmp_path)


async def test_tokens_survive_a_restart_encrypted_in_their_partitions(deployment: Deployment) -> None:
    tokens = {partition: AccessToken(f"a-secret-token-{partition}", 1.5, 2.5) for partition in range(PARTITIONS)}
    async with deployment.worker() as (_, stored):
        for partition, token in tokens.items():
            await stored.save(partition, KEY, token)

    async with deployment.worker() as (_, stored):
        assert {partition: stored.load(partition, KEY) for partition in tokens} == tokens

    records = await deployment.broker.read(deployment.changelog)
    assert [record.partition for record in records] == list(range(PARTITIONS))
    for record in records:
        assert record.key is not None
        assert record.value is not None
        assert partition_of(record.key) == record.partition
        assert b"secret-token" not in record.key + record.value


async def test_a_restarted_worker_fetches_only_expired_tokens(
    deployment: Deployment,
) -> None:
    clock, tally = ManualClock(), Tally()
    issuer = Issuer(clock)
    for expected in ("Bearer T1", "Bearer T1"):
        async with deployment.worker() as (_, stored):
            cache = TokenCache(issuer, stored, clock, tally)
            assert await cache.renewed(subscription(), 2) == expected
            await cache.close()
    clock.time += 3600
    async with deployment.worker() as (_, stored):
        cache = TokenCache(issuer, stored, clock, tally)
        assert await cache.renewed(subscription(), 2) == "Bearer T2"
        await cache.close()
    assert len(issuer.asked) == 2


async def test_a_restart_restores_neither_deleted_nor_replaced_rows(deployment: Deployment) -> None:
    good = AccessToken("newer", 10.0, 500.0)
    async with deployment.worker() as (_, stored):
        await stored.save(0, KEY, AccessToken("expired", 0.0, 100.0))
        await stored.save(1, KEY, AccessToken("older", 0.0, 100.0))
        await stored.save(1, KEY, good)
        assert await stored.sweep(100.0) == 1
        assert stored.load(0, KEY) is None

    async with deployment.worker() as (table, stored):
        assert [partition_of(key) for key in table.row_keys()] == [1]
        assert stored.load(1, KEY) == good


async def test_a_row_moves_with_its_partition_to_the_new_worker(deployment: Deployment) -> None:
    async with deployment.worker() as (first, stored):
        for partition in range(PARTITIONS):
            await stored.save(partition, KEY, AccessToken(f"t{partition}", 1.0))
        recovered_again = asyncio.Event()

        async def on_recover() -> None:
            recovered_again.set()

        first.on_recover(on_recover)
        async with deployment.worker() as (second, _):
            async with asyncio.timeout(START_SECONDS):
                while len(first.row_keys()) == PARTITIONS:
                    recovered_again.clear()
                    await recovered_again.wait()
            places = [{partition_of(key) for key in table.row_keys()} for table in (first, second)]
            assert all(places)
            assert sorted([*places[0], *places[1]]) == list(range(PARTITIONS))


async def test_a_failed_write_of_a_row_affects_no_other_row(deployment: Deployment) -> None:
    async with deployment.worker() as (table, stored):
        too_large = AccessToken("t" * 3_000_000, 1.0)
        with pytest.raises(BrokerError, match=f"a row of {deployment.changelog} was not written"):
            await stored.save(0, KEY, too_large)
        await stored.save(0, KEY, AccessToken("t", 1.0))
    with pytest.raises(BrokerError, match="was not written"):
        await table.write(b"\0" * 36, b"late")
