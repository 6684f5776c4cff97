"""Where the JWK set of WEBHOOKS_ADMIN_JWKS is: a file or a URL. Reading blocks: it is for threads."""

import http.client
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError, URLError

from pipeline.core.errors import ConfigurationError
from pipeline.core.redaction import shown_url
from pipeline.web.jwks import LARGEST_BYTES, KeySet, parse_key_set

URL_SECONDS: Final = 5.0

SETTING: Final = "WEBHOOKS_ADMIN_JWKS"

ReadKeys = Callable[[], KeySet]
"""Reads the set; raises ConfigurationError with a sentence."""


def is_url(location: str) -> bool:
    """Whether this is a URL; everything else is the path of a file."""
    return "://" in location


def reader(location: str, timeout_seconds: float = URL_SECONDS) -> ReadKeys:
    """What reads the set at *location*, a URL or a path that the settings have let pass.

    Args:
        location: of the set.
        timeout_seconds: how long a URL has for its whole answer, give or take one silence of the same length.
    """
    read = partial(_read_url, location, timeout_seconds) if is_url(location) else partial(_read_file, Path(location))
    return partial(_read_keys, read, shown_url(location) if is_url(location) else location)


def _read_keys(read: Callable[[], bytes], name: str) -> KeySet:
    try:
        return parse_key_set(read())
    except ConfigurationError as error:
        raise ConfigurationError(f"{SETTING}: {name} {error}") from None
    except HTTPError as error:
        error.close()
        raise ConfigurationError(f"{SETTING}: {name} answers {error.code}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ConfigurationError(f"{SETTING}: {name} can't be read: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, TimeoutError):
        return "no answer in time"
    return (cause.strerror if isinstance(cause, OSError) else None) or str(cause) or type(cause).__name__


def _read_file(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LARGEST_BYTES + 1)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A key is trusted because of the URL it came from: another URL is an error."""

    def redirect_request(self, *_: Any) -> None:
        """None makes the answer an HTTPError."""


def _read_url(url: str, timeout_seconds: float) -> bytes:
    opener = urllib.request.build_opener(_NoRedirects(), urllib.request.ProxyHandler(_proxies(url)))
    deadline = time.monotonic() + timeout_seconds
    data = bytearray()
    with opener.open(url, timeout=timeout_seconds) as response:
        while len(data) <= LARGEST_BYTES and (part := response.read1(LARGEST_BYTES)):
            data += part
            if time.monotonic() > deadline:
                raise TimeoutError
    return bytes(data)


def _proxies(url: str) -> dict[str, str] | None:
    """None means those of the environment. Plain HTTP goes to loopback alone, which is no proxy's business."""
    return {} if url.lower().startswith("http:") else None
