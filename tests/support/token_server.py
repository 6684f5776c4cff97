"""A token endpoint, as a behaviour of a Receiver. It checks assertions as strictly as RFC 7523 section 3 allows.

server = TokenServer({"client-1": Client("RS256", public_key)})
async with Receiver(server, tls=...) as endpoint:
    ...
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final
from urllib.parse import parse_qs

import jwt
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from tests.support.receiver import Exchange, answer

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
CLAIMS: Final = ["iss", "sub", "aud", "iat", "exp", "jti"]


@dataclass(frozen=True)
class Client:
    """A client with its algorithm, and with its public key, its secret, or the *authority* that issued its
    certificate."""

    algorithm: str
    key: Any = None
    authority: x509.Certificate | None = None


@dataclass
class TokenServer:
    """Issues `token-1`, `token-2`... Refuses with `invalid_client` and the reason (RFC 6749 section 5.2).

    Attributes:
        audience: the required `aud`.
        seen: the ids of used assertions; each is accepted once.
        scopes: the requested scope of each request.
    """

    clients: Mapping[str, Client]
    audience: str = "https://id.example/token"
    seen: set[str] = field(default_factory=set)
    scopes: list[str | None] = field(default_factory=list)
    issued: int = 0

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        form = parse_qs(exchange.request.body.decode(), strict_parsing=True)
        problem = self._problem({name: values[0] for name, values in form.items()})
        if problem is not None:
            refusal = {"error": "invalid_client", "error_description": problem}
            await answer(401, json.dumps(refusal).encode())(exchange)
            return
        self.issued += 1
        self.scopes.append(form.get("scope", [None])[0])
        token = {"access_token": f"token-{self.issued}", "token_type": "Bearer", "expires_in": 3600}
        await answer(200, json.dumps(token).encode())(exchange)

    def _problem(self, form: Mapping[str, str]) -> str | None:
        if form.get("grant_type") != "client_credentials" or form.get("client_assertion_type") != ASSERTION_TYPE:
            return "another grant was expected"
        assertion = form["client_assertion"]
        client = self.clients.get(jwt.decode(assertion, options={"verify_signature": False})["sub"])
        if client is None:
            return "this client is unknown"
        try:
            key = client.key if client.authority is None else _certified(assertion, client.authority)
            claims = jwt.decode(
                assertion, key, algorithms=[client.algorithm], audience=self.audience, options={"require": CLAIMS}
            )
        except (jwt.InvalidTokenError, InvalidSignature, ValueError) as error:
            return str(error)
        if claims["jti"] in self.seen:
            return "the assertion was used before"
        self.seen.add(claims["jti"])
        return None


def _certified(assertion: str, authority: x509.Certificate) -> Any:
    """The key of the first certificate in `x5c` (RFC 7515 section 4.1.6), if each is issued by the next one."""
    encoded: Sequence[str] = jwt.get_unverified_header(assertion).get("x5c", [])
    chain = [x509.load_der_x509_certificate(base64.b64decode(each, validate=True)) for each in encoded]
    if not chain or chain[-1] != authority:
        raise ValueError("the chain does not end at the authority")
    for certificate, issuer in pairwise(chain):
        certificate.verify_directly_issued_by(issuer)
    return chain[0].public_key()
