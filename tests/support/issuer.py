"""An issuer that signs tokens and publishes its keys, with real keys and a real server on loopback."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

CURVES: Final[dict[str, ec.EllipticCurve]] = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}


def private_key(algorithm: str, bits: int = 2048) -> PrivateKey:
    """A new key for *algorithm*."""
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    if algorithm in CURVES:
        return ec.generate_private_key(CURVES[algorithm])
    return rsa.generate_private_key(65537, bits)


@dataclass
class SigningKey:
    """A key pair with its name."""

    kid: str | None
    algorithm: str
    private: PrivateKey

    @classmethod
    def make(cls, kid: str | None, algorithm: str = "ES256", bits: int = 2048) -> "SigningKey":
        return cls(kid, algorithm, private_key(algorithm, bits))

    def jwk(self, **members: Any) -> dict[str, Any]:
        """The public key as a JWK. *members* are added; a member that is None is removed."""
        public = jwt.get_algorithm_by_name(self.algorithm).to_jwk(self.private.public_key(), as_dict=True)
        named = {**public, "alg": self.algorithm, "kid": self.kid, "use": "sig", **members}
        return {name: value for name, value in named.items() if value is not None and name != "key_ops"}

    def token(self, kid: str | None = None, **claims: Any) -> str:
        """A token that expires in a minute. *kid* replaces the key's id; *claims* are added, or removed if None."""
        named = {"sub": "an-admin", "exp": time.time() + 60, **claims}
        payload = {name: value for name, value in named.items() if value is not None}
        kid = kid or self.kid
        return jwt.encode(payload, self.private, self.algorithm, None if kid is None else {"kid": kid})


def key_set(*keys: SigningKey | dict[str, Any]) -> bytes:
    """A JWK set."""
    return json.dumps({"keys": [key.jwk() if isinstance(key, SigningKey) else key for key in keys]}).encode()


@dataclass
class KeyServer:
    """A server of a JWK set.

    Attributes:
        asked: the number of requests for the set.
        open: requests wait until this event is set.
    """

    body: bytes
    url: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    asked: int = 0
    open: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, _: web.Request) -> web.Response:
        self.asked += 1
        await self.open.wait()
        return web.Response(body=self.body, status=self.status, headers=self.headers)


@asynccontextmanager
async def publishing(body: bytes) -> AsyncIterator[KeyServer]:
    """Start a key server on loopback."""
    server = KeyServer(body)
    server.open.set()
    application = web.Application()
    application.router.add_get("/jwks", server.answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    try:
        await site.start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/jwks"
        yield server
    finally:
        await runner.cleanup()
