"""Parses untrusted URLs. Pure."""

from urllib.parse import SplitResult, urlsplit


def split_url(url: str) -> SplitResult | None:
    """The parts of *url*; None if its host or port is invalid, or it contains a lone surrogate."""
    try:
        parts = urlsplit(url)
        url.encode()
        _ = parts.hostname, parts.port  # validated when they are read
    except ValueError:
        return None
    return parts
