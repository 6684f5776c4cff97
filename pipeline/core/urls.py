"""URLs of unknown quality. Pure."""

from urllib.parse import SplitResult, urlsplit


def split_url(url: str) -> SplitResult | None:
    """The parts of *url*; None where its host or port can't be read, or it holds half of a character."""
    try:
        parts = urlsplit(url)
        url.encode()
        _ = parts.hostname, parts.port  # worked out, and judged, when they are asked for
    except ValueError:
        return None
    return parts
