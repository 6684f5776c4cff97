"""Checks credentials for a SOCKS proxy (RFC 1929 section 2; SOCKS4 has only a user id). Pure."""

from typing import Final

MAX_BYTES: Final = 255


def credentials_problem(version: int, username: str | None, password: str | None) -> tuple[str, str] | None:
    """The wrong field and a sentence about it, which contains no part of the credentials; None if there is no problem.

    Args:
        version: the version of SOCKS, 4 or 5.
        username: the user name; None or empty if there is none.
        password: the password; None or empty if there is none.
    """
    if version == 4 and password:  # noqa: PLR2004 - the version of SOCKS
        return "password", "SOCKS4 supports only a user name; allowed: HTTP, SOCKS5 with a password"
    if version == 5 and bool(username) != bool(password):  # noqa: PLR2004 - the version of SOCKS
        missing, given = ("password", "username") if username else ("username", "password")
        return missing, f"is required with a {given} for SOCKS5 (RFC 1929 section 2)"
    for field, text in (("username", username), ("password", password)):
        if text and not (text.isascii() and text.isprintable()):
            return field, "has characters that can't be sent to a SOCKS proxy; allowed: printable ASCII"
        if text and len(text) > MAX_BYTES:
            return field, f"has {len(text)} bytes; allowed for a SOCKS proxy: up to {MAX_BYTES} (RFC 1929 section 2)"
    return None
