"""Reads the JWK set of WEBHOOKS_ADMIN_JWKS from a file or a URL."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar
from yarl import URL

from pipeline.core.errors import ConfigurationError
from pipeline.core.redaction import shown_url
from pipeline.http.direct import DirectConnector
from pipeline.http.proxy import SystemProxies
from pipeline.http.resolver import Resolver
from pipeline.web.jwks import LARGEST_BYTES, KeySet, parse_key_set

URL_SECONDS: Final = 5.0

SETTING: Final = "WEBHOOKS_ADMIN_JWKS"

ReadKeys = Callable[[], Awaitable[KeySet]]
"""Reads the set; raises ConfigurationError."""


def is_url(location: str) -> bool:
    """Whether *location* is a URL. Otherwise it is the path of a file."""
    return "://" in location


def reader(location: str, timeout_seconds: float = URL_SECONDS) -> ReadKeys:
    """A function that reads the set at *location*.

    Args:
        location: a URL or a path, validated by the settings.
        timeout_seconds: the time limit for the whole answer from a URL, including the name lookup.
    """
    if is_url(location):
        return partial(_keys_of_url, location, timeout_seconds)
    return partial(asyncio.to_thread, read_key_file, location)


def read_key_file(path: str) -> KeySet:
    """Read the set in the file at *path*. Blocks.

    Raises:
        ConfigurationError: the file can't be read or is not a JWK set.
    """
    with _sentences(path), Path(path).open("rb") as file:
        return parse_key_set(file.read(LARGEST_BYTES + 1))


async def _keys_of_url(url: str, timeout_seconds: float) -> KeySet:
    with _sentences(shown_url(url)):
        data = await _read_url(url, timeout_seconds)
        return await asyncio.to_thread(parse_key_set, data)


@contextmanager
def _sentences(name: str) -> Iterator[None]:
    """Turn all errors into a ConfigurationError about *name*, the location of the set without secrets."""
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(f"{SETTING}: {name} {error}") from None
    except (OSError, ClientError, ValueError) as error:
        raise ConfigurationError(f"{SETTING}: {name} can't be read: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """The cause of an error. aiohttp's messages are left out: they may contain the URL or the proxy's credentials."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", error)
    return getattr(cause, "strerror", None) or type(cause).__name__


async def _read_url(url: str, timeout_seconds: float) -> bytes:
    resolver, data = Resolver(), bytearray()
    try:
        async with (
            ClientSession(
                connector=DirectConnector(resolver=resolver),
                cookie_jar=DummyCookieJar(),
                timeout=ClientTimeout(total=timeout_seconds),
            ) as session,
            # A redirect is an error, because the keys are trusted for their URL.
            session.get(url, allow_redirects=False, proxy=_proxy(url)) as response,
        ):
            if not 200 <= response.status < 300:  # noqa: PLR2004 - the successes of RFC 9110
                raise ConfigurationError(f"answers {response.status}")
            async for part in response.content.iter_any():
                data += part
                if len(data) > LARGEST_BYTES:
                    break
    finally:
        await resolver.close()
    return bytes(data)


def _proxy(url: str) -> str | None:
    """The proxy in the environment. Plain HTTP is allowed to loopback only, so it needs no proxy."""
    return None if url.lower().startswith("http:") else SystemProxies.from_environment().for_url(URL(url))
