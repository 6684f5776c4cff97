"""Fakes of the parts around access tokens: the time, a token endpoint and a store."""

import asyncio
import math
from collections import Counter
from dataclasses import dataclass, field

from pipeline.auth.access_token import AccessToken
from pipeline.auth.grant import NoToken
from pipeline.core.errors import BrokerError
from pipeline.core.subscription import ClientAuth, OAuth2Auth, Subscription
from pipeline.observability.telemetry import TokenResult

CREDENTIALS = OAuth2Auth("https://auth.example/token", "a-client", "a-secret", ("events",))


def subscription(name: str = "s", auth: ClientAuth = CREDENTIALS) -> Subscription:
    """A subscription with client credentials."""
    return Subscription(id=name, revision=1, url="https://example.com/hook", auth=auth)


@dataclass
class ManualClock:
    """A clock whose time a test sets."""

    time: float = 1_000.0

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


@dataclass
class Issuer:
    """A token endpoint. It issues T1, T2... with a lifetime, or gives scripted answers. Tests can delay answers."""

    clock: ManualClock
    lifetime_seconds: float | None = 3600.0
    script: list[NoToken | Exception] = field(default_factory=list)
    asked: list[ClientAuth] = field(default_factory=list)
    ends: dict[str, float] = field(default_factory=dict)
    open: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.open.set()

    async def __call__(self, subscription: Subscription, auth: ClientAuth) -> AccessToken | NoToken:
        assert subscription.auth == auth
        self.asked.append(auth)
        number, asked_at = len(self.asked), self.clock.now()
        await self.open.wait()
        if self.script:
            answer = self.script.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        ends = None if self.lifetime_seconds is None else asked_at + self.lifetime_seconds
        token = AccessToken(f"T{number}", asked_at, ends)
        self.ends[token.authorization] = math.inf if ends is None else ends
        return token


@dataclass
class MemoryStore:
    """A store whose rows outlive a cache. A *broken* store refuses to write."""

    rows: dict[tuple[int, bytes], AccessToken] = field(default_factory=dict)
    saves: list[tuple[int, AccessToken]] = field(default_factory=list)
    loads: int = 0
    broken: bool = False

    def load(self, partition: int, fingerprint: bytes) -> AccessToken | None:
        self.loads += 1
        return self.rows.get((partition, fingerprint))

    async def save(self, partition: int, fingerprint: bytes, token: AccessToken) -> None:
        await asyncio.sleep(0)
        if self.broken:
            raise BrokerError("no broker today")
        self.saves.append((partition, token))
        self.rows[partition, fingerprint] = token

    async def sweep(self, now: float) -> int:
        if self.broken:
            raise BrokerError("no broker today")
        expired = [key for key, token in self.rows.items() if not token.is_good(now)]
        for key in expired:
            del self.rows[key]
        return len(expired)


@dataclass
class Tally:
    """Counts the answers from token endpoints."""

    results: Counter[TokenResult] = field(default_factory=Counter)

    def token_fetched(self, result: TokenResult) -> None:
        self.results[result] += 1


async def turns(count: int = 10) -> None:
    """Let tasks that are ready run."""
    for _ in range(count):
        await asyncio.sleep(0)
