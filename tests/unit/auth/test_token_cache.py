"""The token cache of a worker, with a fake clock, token endpoint and store."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.auth.access_token import AccessToken, fingerprint
from pipeline.auth.grant import Grant
from pipeline.auth.token_cache import TokenCache
from pipeline.core.outcome import TokenRefused, TokenUnavailable
from pipeline.core.subscription import BasicAuth, JwtProfileAuth, RetryPolicy, Subscription
from tests.support.tokens import CREDENTIALS, Issuer, ManualClock, MemoryStore, Tally, subscription, turns

S = subscription()
KEY = fingerprint(CREDENTIALS)


class Bench(SimpleNamespace):
    clock: ManualClock
    issuer: Issuer
    store: MemoryStore
    tally: Tally
    cache: TokenCache

    @property
    def fetches(self) -> int:
        return len(self.issuer.asked)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    clock, store, tally = ManualClock(), MemoryStore(), Tally()
    issuer = Issuer(clock)
    cache = TokenCache(issuer, store, clock, tally)
    yield Bench(clock=clock, issuer=issuer, store=store, tally=tally, cache=cache)
    issuer.open.set()
    await cache.close()


async def test_nothing_is_cached_before_the_first_request(bench: Bench) -> None:
    assert bench.cache.cached(S, 0) is None
    assert bench.fetches == 0


async def test_a_token_is_fetched_once_and_then_read_without_waiting(bench: Bench) -> None:
    assert await bench.cache.renewed(S, 0) == "Bearer T1"
    assert [bench.cache.cached(S, 0) for _ in range(3)] == ["Bearer T1"] * 3
    assert bench.fetches == 1
    assert bench.tally.results == {"ok": 1}


async def test_a_thousand_lanes_wait_for_one_fetch(bench: Bench) -> None:
    bench.issuer.open.clear()
    lanes = [asyncio.create_task(bench.cache.renewed(subscription(f"s{n}"), n % 12)) for n in range(1000)]
    await turns()
    bench.issuer.open.set()
    assert set(await asyncio.gather(*lanes)) == {"Bearer T1"}
    assert bench.fetches == 1
    await bench.cache.saved()
    assert sorted(partition for partition, _ in bench.store.saves) == list(range(12))


async def test_other_credentials_get_another_token(bench: Bench) -> None:
    other = subscription("t", replace(CREDENTIALS, scopes=("events", "more")))
    assert await bench.cache.renewed(S, 0) == "Bearer T1"
    assert await bench.cache.renewed(other, 0) == "Bearer T2"
    assert bench.cache.cached(S, 0) == "Bearer T1"


async def test_a_cancelled_lane_does_not_end_the_fetch_of_others(bench: Bench) -> None:
    bench.issuer.open.clear()
    first, second = (asyncio.create_task(bench.cache.renewed(S, 0)) for _ in range(2))
    await turns()
    first.cancel()
    await turns()
    bench.issuer.open.set()
    assert await second == "Bearer T1"
    assert bench.fetches == 1
    assert first.cancelled()


async def test_during_an_early_renewal_the_old_token_is_used(bench: Bench) -> None:
    await bench.cache.renewed(S, 0)
    bench.issuer.open.clear()
    bench.clock.time += 3600 - 60
    assert [bench.cache.cached(S, 0) for _ in range(5)] == ["Bearer T1"] * 5
    await turns()
    assert bench.fetches == 2
    bench.issuer.open.set()
    await turns()
    assert bench.cache.cached(S, 0) == "Bearer T2"


async def test_no_token_is_renewed_before_the_margin(bench: Bench) -> None:
    await bench.cache.renewed(S, 0)
    bench.clock.time += 3600 - 61
    assert bench.cache.cached(S, 0) == "Bearer T1"
    await turns()
    assert bench.fetches == 1


async def test_a_short_token_is_renewed_at_nine_tenths_of_its_life(bench: Bench) -> None:
    bench.issuer.lifetime_seconds = 10.0
    await bench.cache.renewed(S, 0)
    bench.clock.time += 8.9
    assert bench.cache.cached(S, 0) == "Bearer T1"
    await turns()
    assert bench.fetches == 1
    bench.clock.time += 0.2
    assert bench.cache.cached(S, 0) == "Bearer T1"
    await turns()
    assert bench.fetches == 2


async def test_an_expired_token_is_never_handed_out(bench: Bench) -> None:
    await bench.cache.renewed(S, 0)
    bench.clock.time += 3600
    assert bench.cache.cached(S, 0) is None
    assert await bench.cache.renewed(S, 0) == "Bearer T2"


async def test_a_token_that_expires_during_renewal_is_not_handed_out(bench: Bench) -> None:
    await bench.cache.renewed(S, 0)
    bench.clock.time += 3599
    bench.issuer.open.clear()
    assert bench.cache.cached(S, 0) == "Bearer T1"
    await turns()
    bench.clock.time += 2
    assert bench.cache.cached(S, 0) is None
    lane = asyncio.create_task(bench.cache.renewed(S, 0))
    await turns()
    bench.issuer.open.set()
    assert await lane == "Bearer T2"
    assert bench.fetches == 2


async def test_a_token_without_an_expiry_is_kept(bench: Bench) -> None:
    bench.issuer.lifetime_seconds = None
    await bench.cache.renewed(S, 0)
    bench.clock.time += 1e9
    assert bench.cache.cached(S, 0) == "Bearer T1"


async def test_a_token_that_has_expired_on_arrival_is_not_used(bench: Bench) -> None:
    bench.issuer.lifetime_seconds = 5.0
    bench.issuer.open.clear()
    asked = asyncio.create_task(bench.cache.renewed(S, 0))
    await turns()
    bench.clock.time += 6.0
    bench.issuer.open.set()
    assert await asked == TokenUnavailable("the token had already expired when it arrived")
    assert bench.tally.results == {"unavailable": 1}


async def test_a_token_with_a_lifetime_of_zero_is_used_once(bench: Bench) -> None:
    bench.issuer.lifetime_seconds = 0.0
    assert await asyncio.gather(*(bench.cache.renewed(S, 0) for _ in range(3))) == ["Bearer T1"] * 3
    assert bench.cache.cached(S, 0) is None
    assert await bench.cache.renewed(S, 0) == "Bearer T2"
    await bench.cache.saved()
    assert bench.store.rows == {}
    assert bench.tally.results == {"ok": 2}


# --------------------------------------------------------------- 401


async def test_a_rejected_token_is_replaced_once_for_all_lanes(bench: Bench) -> None:
    await bench.cache.renewed(S, 0)
    for name in ("s", "t", "u"):  # three lanes were answered 401 to the same token
        bench.cache.reject(subscription(name), "Bearer T1")
    assert bench.cache.cached(S, 0) is None
    answers = await asyncio.gather(*(bench.cache.renewed(subscription(name), 0) for name in ("s", "t", "u")))
    assert answers == ["Bearer T2"] * 3
    assert bench.fetches == 2


async def test_a_late_401_to_a_replaced_token_fetches_no_further_token(bench: Bench) -> None:
    await bench.cache.renewed(S, 0)
    bench.cache.reject(S, "Bearer T1")
    await bench.cache.renewed(S, 0)
    bench.cache.reject(S, "Bearer T1")
    assert await bench.cache.renewed(S, 0) == "Bearer T2"
    assert bench.cache.cached(S, 0) == "Bearer T2"
    assert bench.fetches == 2


async def test_if_every_token_is_rejected_one_is_fetched_per_second(bench: Bench) -> None:
    answer = await bench.cache.renewed(S, 0)
    for _ in range(100):  # ten seconds of a callback that answers 401, ten times a second
        assert isinstance(answer, str)
        bench.cache.reject(S, answer)
        answer = await bench.cache.renewed(S, 0)
        bench.clock.time += 0.1
    assert 9 <= bench.fetches - 1 <= 11


async def test_a_401_to_a_token_without_an_expiry_gets_a_new_one(bench: Bench) -> None:
    bench.issuer.lifetime_seconds = None
    await bench.cache.renewed(S, 0)
    bench.clock.time += 86400
    bench.cache.reject(S, "Bearer T1")
    assert await bench.cache.renewed(S, 0) == "Bearer T2"


async def test_a_rejected_token_is_not_read_back_from_its_row(bench: Bench) -> None:
    await bench.cache.renewed(S, 0)
    await bench.cache.saved()
    bench.cache.reject(S, "Bearer T1")
    bench.store.rows[1, KEY] = bench.store.rows[0, KEY]
    assert await bench.cache.renewed(S, 1) == "Bearer T2"


# --------------------------------------------------------------- failures


async def test_a_refusal_of_the_token_endpoint_is_an_outcome(bench: Bench) -> None:
    bench.issuer.script = [TokenRefused("invalid_client")]
    assert await bench.cache.renewed(S, 0) == TokenRefused("invalid_client")
    assert bench.tally.results == {"refused": 1}


@pytest.mark.parametrize("failure", [TokenUnavailable("HTTP 503"), TokenRefused("invalid_client")])
async def test_a_failed_fetch_is_not_repeated_within_a_second(
    bench: Bench, failure: TokenUnavailable | TokenRefused
) -> None:
    bench.issuer.script = [failure]
    assert [await bench.cache.renewed(subscription(f"s{n}"), 0) for n in range(1000)] == [failure] * 1000
    assert bench.fetches == 1
    bench.clock.time += 1.0
    assert await bench.cache.renewed(S, 0) == "Bearer T2"


async def test_a_token_endpoint_s_retry_after_header_is_obeyed(bench: Bench) -> None:
    bench.issuer.script = [TokenUnavailable("HTTP 429", 90.0)]
    assert await bench.cache.renewed(S, 0) == TokenUnavailable("HTTP 429", 90.0)
    bench.clock.time += 89.0
    assert await bench.cache.renewed(subscription("t"), 1) == TokenUnavailable("HTTP 429", 1.0)
    assert bench.fetches == 1
    bench.clock.time += 1.0
    assert await bench.cache.renewed(S, 0) == "Bearer T2"


async def test_a_token_endpoint_s_retry_after_header_has_a_limit(bench: Bench) -> None:
    hasty = replace(S, retry=RetryPolicy(initial_delay_seconds=1.0, max_delay_seconds=2.0))
    bench.issuer.script = [TokenUnavailable("HTTP 429", 1e9)]
    await bench.cache.renewed(S, 0)
    bench.clock.time += 20.0
    assert isinstance(await bench.cache.renewed(S, 0), TokenUnavailable)
    assert await bench.cache.renewed(hasty, 0) == "Bearer T2"


async def test_an_early_renewal_obeys_the_retry_after_header(bench: Bench) -> None:
    await bench.cache.renewed(S, 0)
    bench.clock.time += 3545
    bench.issuer.script = [TokenUnavailable("HTTP 429", 30.0)]
    for _ in range(20):
        assert bench.cache.cached(S, 0) == "Bearer T1"
        await turns()
        bench.clock.time += 1.0
    assert bench.fetches == 2


async def test_a_clock_that_is_set_back_does_not_prolong_a_failure(bench: Bench) -> None:
    bench.issuer.script = [TokenUnavailable("HTTP 503")]
    await bench.cache.renewed(S, 0)
    bench.clock.time -= 500
    assert await bench.cache.renewed(S, 0) == "Bearer T2"


async def test_a_failed_early_renewal_keeps_the_old_token(bench: Bench) -> None:
    await bench.cache.renewed(S, 0)
    bench.clock.time += 3550
    bench.issuer.script = [TokenUnavailable("HTTP 503")]
    for _ in range(100):
        assert bench.cache.cached(S, 0) == "Bearer T1"
        await turns(3)
    assert bench.fetches == 2
    bench.clock.time += 1.0
    assert bench.cache.cached(S, 0) == "Bearer T1"
    await turns()
    assert bench.cache.cached(S, 0) == "Bearer T3"


async def test_an_error_in_an_early_renewal_is_logged(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    await bench.cache.renewed(S, 0)
    bench.clock.time += 3550
    bench.issuer.script = [RuntimeError("a fault of ours")]
    bench.cache.cached(S, 0)
    await turns()
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "a fault of ours" in caplog.text
    assert bench.cache.cached(S, 0) == "Bearer T1"


async def test_only_client_credentials_have_access_tokens(bench: Bench) -> None:
    other = Subscription(id="b", revision=1, url="https://example.com", auth=BasicAuth("user", "a-password"))
    with pytest.raises(TypeError, match="only for client credentials, not for BasicAuth"):
        await bench.cache.renewed(other, 0)


# --------------------------------------------------------------- rows


async def again(bench: Bench) -> TokenCache:
    """The cache of the next worker, which has the rows of the former worker."""
    await bench.cache.close()
    bench.cache = TokenCache(bench.issuer, bench.store, bench.clock, bench.tally)
    return bench.cache


async def test_a_restarted_worker_uses_a_valid_stored_token(bench: Bench) -> None:
    await bench.cache.renewed(S, 3)
    cache = await again(bench)
    assert cache.cached(S, 3) is None
    assert await cache.renewed(S, 3) == "Bearer T1"
    assert cache.cached(S, 3) == "Bearer T1"
    assert bench.fetches == 1


async def test_a_restarted_worker_renews_a_stored_token_early(bench: Bench) -> None:
    await bench.cache.renewed(S, 3)
    cache = await again(bench)
    bench.clock.time += 3550
    assert await cache.renewed(S, 3) == "Bearer T1"
    assert cache.cached(S, 3) == "Bearer T1"
    await turns()
    assert cache.cached(S, 3) == "Bearer T2"


async def test_a_restarted_worker_uses_no_expired_stored_token(bench: Bench) -> None:
    await bench.cache.renewed(S, 3)
    cache = await again(bench)
    bench.clock.time += 3600
    assert await cache.renewed(S, 3) == "Bearer T2"


async def test_after_a_change_of_the_secret_a_new_token_is_fetched(bench: Bench) -> None:
    await bench.cache.renewed(S, 3)
    cache = await again(bench)
    assert await cache.renewed(subscription("s", replace(CREDENTIALS, client_secret="new")), 3) == "Bearer T2"


async def test_a_second_partition_uses_the_token_in_its_own_row(bench: Bench) -> None:
    await bench.cache.renewed(S, 0)
    assert bench.cache.cached(S, 1) is None
    assert await bench.cache.renewed(S, 1) == "Bearer T1"
    await bench.cache.saved()
    assert set(bench.store.rows) == {(0, KEY), (1, KEY)}
    assert bench.fetches == 1


async def test_a_renewal_updates_the_rows_of_all_partitions(bench: Bench) -> None:
    await bench.cache.renewed(S, 0)
    await bench.cache.renewed(S, 1)
    bench.clock.time += 3600
    await bench.cache.renewed(S, 0)
    await bench.cache.saved()
    assert {token.value for token in bench.store.rows.values()} == {"T2"}


async def test_a_newer_token_in_the_row_of_a_new_partition_is_used(bench: Bench) -> None:
    await bench.cache.renewed(S, 0)
    now = bench.clock.time = bench.clock.time + 10
    bench.store.rows[1, KEY] = AccessToken("theirs", now, now + 3600)
    assert await bench.cache.renewed(S, 1) == "Bearer theirs"
    assert bench.cache.cached(S, 0) == "Bearer theirs"


@pytest.mark.parametrize(
    ("value", "obtained_at", "expires_at", "is_better"),
    [("T2", 6.0, None, True), ("T2", 5.0, None, False), ("T2", 4.0, None, False), ("T2", 6.0, 9.0, False),
     ("T1", 6.0, None, False)],
)  # fmt: skip
def test_only_a_newer_valid_other_token_is_taken_from_a_row(
    value: str, obtained_at: float, expires_at: float | None, *, is_better: bool
) -> None:
    grant = Grant(CREDENTIALS, b"")
    grant.take(AccessToken("T1", 5.0), 5.0)
    assert grant.prefers(AccessToken(value, obtained_at, expires_at), 10.0) == is_better


async def test_a_partition_that_is_assigned_again_reads_its_row_again(bench: Bench) -> None:
    await bench.cache.renewed(S, 0)
    await bench.cache.saved()
    bench.cache.release(0)
    assert bench.cache.cached(S, 0) is None
    now = bench.clock.time = bench.clock.time + 10
    bench.store.rows[0, KEY] = AccessToken("theirs", now, now + 3600)
    assert await bench.cache.renewed(S, 0) == "Bearer theirs"
    assert bench.fetches == 1


async def test_releasing_a_partition_keeps_tokens_of_the_others(bench: Bench) -> None:
    await bench.cache.renewed(S, 0)
    await bench.cache.renewed(S, 1)
    await bench.cache.saved()
    bench.cache.release(1)
    assert bench.cache.cached(S, 0) == "Bearer T1"
    bench.clock.time += 3600
    await bench.cache.renewed(S, 0)
    await bench.cache.saved()
    assert bench.store.saves[-1][0] == 0
    assert bench.store.rows[1, KEY].value == "T1"


async def test_a_fetch_continues_when_its_partition_is_released(bench: Bench) -> None:
    bench.issuer.open.clear()
    lanes = [asyncio.create_task(bench.cache.renewed(S, 0))]
    await turns()
    bench.cache.release(0)
    lanes.append(asyncio.create_task(bench.cache.renewed(S, 1)))
    await turns()
    bench.issuer.open.set()
    assert await asyncio.gather(*lanes) == ["Bearer T1"] * 2
    assert bench.fetches == 1


async def test_a_store_failure_is_logged_and_stops_no_delivery(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.store.broken = True
    assert await bench.cache.renewed(S, 0) == "Bearer T1"
    await bench.cache.saved()
    await bench.cache.sweep()
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert bench.cache.cached(S, 0) == "Bearer T1"


async def test_a_forgotten_token_is_read_again_from_its_row(bench: Bench) -> None:
    await bench.cache.renewed(S, 0)
    await bench.cache.sweep()
    assert bench.cache.cached(S, 0) == "Bearer T1"
    await bench.cache.sweep()
    await bench.cache.sweep()
    assert bench.cache.cached(S, 0) is None
    assert await bench.cache.renewed(S, 0) == "Bearer T1"
    assert bench.fetches == 1


async def test_a_sweep_deletes_the_rows_of_expired_tokens(bench: Bench) -> None:
    await bench.cache.renewed(S, 0)
    await bench.cache.saved()
    bench.clock.time += 3600
    await bench.cache.sweep()
    assert bench.store.rows == {}


async def test_closing_ends_a_fetch_and_waits_for_the_last_row(bench: Bench) -> None:
    await bench.cache.renewed(S, 0)
    bench.issuer.open.clear()
    lane = asyncio.create_task(bench.cache.renewed(subscription("t", replace(CREDENTIALS, client_id="t")), 0))
    await turns()
    await bench.cache.close()
    assert (0, KEY) in bench.store.rows
    with pytest.raises(asyncio.CancelledError):
        await lane


async def test_closing_waits_for_a_row_that_is_being_written(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    written, save = asyncio.Event(), bench.store.save

    async def held(partition: int, key: bytes, token: AccessToken) -> None:
        await written.wait()
        await save(partition, key, token)

    monkeypatch.setattr(bench.store, "save", held)
    await bench.cache.renewed(S, 0)
    closing = asyncio.create_task(bench.cache.close())
    await turns()
    assert not closing.done()
    written.set()
    await closing
    assert (0, KEY) in bench.store.rows


async def test_after_a_faulty_fetch_the_next_caller_starts_another(bench: Bench) -> None:
    bench.issuer.script = [LookupError("a fault of ours")]
    with pytest.raises(LookupError):
        await bench.cache.renewed(S, 0)
    assert await bench.cache.renewed(S, 0) == "Bearer T2"


async def test_no_repr_contains_a_secret(bench: Bench) -> None:
    await bench.cache.renewed(S, 0)
    shown = repr(bench.cache._grants)
    assert "a-client" in shown
    assert "a-secret" not in shown
    assert "T1" not in shown


class World:
    """A worker that is restarted, loses partitions and has failures. Every token that its cache returns is checked."""

    def __init__(self) -> None:
        self.clock, self.store = ManualClock(), MemoryStore()
        self.issuer = Issuer(self.clock, lifetime_seconds=100.0)
        self.cache = TokenCache(self.issuer, self.store, self.clock, Tally())
        self.handed = "none yet"

    async def ask(self, partition: int) -> None:
        before = len(self.issuer.asked)
        for answer in await asyncio.gather(*(self.send(partition) for _ in range(3))):
            if isinstance(answer, str):
                self.handed = answer
                assert self.clock.time < self.issuer.ends[answer]
        await turns()
        assert len(self.issuer.asked) - before <= 1

    async def send(self, partition: int) -> object:
        return self.cache.cached(S, partition) or await self.cache.renewed(S, partition)

    async def reject(self, _: int) -> None:
        self.cache.reject(S, self.handed)

    async def wait(self, _: int) -> None:
        self.clock.time += 7

    async def wait_long(self, _: int) -> None:
        self.clock.time += 95

    async def fail(self, _: int) -> None:
        self.issuer.script = [TokenUnavailable("HTTP 503")]

    async def release(self, partition: int) -> None:
        self.cache.release(partition)

    async def sweep(self, _: int) -> None:
        await self.cache.sweep()

    async def restart(self, _: int) -> None:
        await self.cache.close()
        self.cache = TokenCache(self.issuer, self.store, self.clock, Tally())


STEPS = [
    World.ask,
    World.reject,
    World.wait,
    World.wait_long,
    World.fail,
    World.release,
    World.sweep,
    World.restart,
]


@given(steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 2)), max_size=60))
async def test_no_expired_token_is_handed_out_and_fetches_are_shared(
    steps: list[tuple[Callable[[World, int], Awaitable[None]], int]],
) -> None:
    world = World()
    for step, partition in steps:
        await step(world, partition)
    await world.cache.close()


@pytest.mark.parametrize(
    "other",
    [
        replace(CREDENTIALS, endpoint="https://auth.example/other"),
        replace(CREDENTIALS, client_id="b-client"),
        replace(CREDENTIALS, client_secret="b-secret"),
        replace(CREDENTIALS, scopes=()),
        replace(CREDENTIALS, client_auth_method="client_secret_basic"),
        replace(CREDENTIALS, client_id="a-clienta-", client_secret="secret"),
    ],
)
def test_different_credentials_have_different_fingerprints(other: object) -> None:
    assert isinstance(other, type(CREDENTIALS))
    assert fingerprint(other) != fingerprint(CREDENTIALS)
    assert len(fingerprint(other)) == 32
    assert fingerprint(replace(other)) == fingerprint(other)


PROFILE = JwtProfileAuth("https://auth.example/token", "issuer", "subject", "audience", b"a-key")


@pytest.mark.parametrize(
    "change",
    [
        {"endpoint": "https://auth.example/other"},
        {"issuer": "subject", "subject": "issuer"},
        {"audience": "another"},
        {"key": b"b-key"},
        {"algorithm": "HS256"},
        {"lifetime_seconds": 60},
        {"key_id": "k"},
        {"jwt_id": "k"},
        {"certificates": ("k",)},
        {"claims": (("k", "v"),)},
        {"scopes": ("k",)},
    ],
    ids="-".join,
)
def test_a_fingerprint_of_an_assertion_does_not_reveal_the_key(change: dict[str, Any]) -> None:
    assert fingerprint(replace(PROFILE, **change)) != fingerprint(PROFILE)
    assert fingerprint(replace(PROFILE)) == fingerprint(PROFILE)
    assert len(fingerprint(PROFILE)) == 32
    assert "a-key" not in repr(PROFILE)
