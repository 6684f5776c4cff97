"""Where the JWK set of WEBHOOKS_ADMIN_JWKS is: a file or a URL."""

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
"""Reads the set; raises ConfigurationError with a sentence."""


def is_url(location: str) -> bool:
    """Whether this is a URL; everything else is the path of a file."""
    return "://" in location


def reader(location: str, timeout_seconds: float = URL_SECONDS) -> ReadKeys:
    """What reads the set at *location*, a URL or a path that the settings have let pass.

    Args:
        location: of the set.
        timeout_seconds: how long a URL has for its whole answer, with the lookup of its name.
    """
    if is_url(location):
        return partial(_keys_of_url, location, timeout_seconds)
    return partial(asyncio.to_thread, read_key_file, location)


def read_key_file(path: str) -> KeySet:
    """The set in the file at *path*; blocks.

    Raises:
        ConfigurationError: the file can't be read, or is not a JWK set.
    """
    with _sentences(path), Path(path).open("rb") as file:
        return parse_key_set(file.read(LARGEST_BYTES + 1))


async def _keys_of_url(url: str, timeout_seconds: float) -> KeySet:
    with _sentences(shown_url(url)):
        data = await _read_url(url, timeout_seconds)
        return await asyncio.to_thread(parse_key_set, data)


@contextmanager
def _sentences(name: str) -> Iterator[None]:
    """Whatever goes wrong is a sentence about *name*, the place of the set as it is shown."""
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(f"{SETTING}: {name} {error}") from None
    except (OSError, ClientError, ValueError) as error:
        raise ConfigurationError(f"{SETTING}: {name} can't be read: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """Without the texts of aiohttp, which may hold the URL, and the proxy with its credentials."""
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
            # A key is trusted because of the URL it came from: another URL is an error.
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
    """That of the environment. Plain HTTP goes to loopback alone, which is no proxy's business."""
    return None if url.lower().startswith("http:") else SystemProxies.from_environment().for_url(URL(url))
