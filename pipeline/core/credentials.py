"""Recognises headers and query parameters that hold credentials, by their names. Pure."""

import re
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_plus

ValueChange = Callable[[str, str], str]
"""A function that gets the name of a parameter or the path of a field, and its value, and returns the new value."""

_WORDS: Final = frozenset(
    {
        *("auth", "authentication", "authorization", "bearer", "cookie", "cookies", "jwt"),
        *("session", "sessionid", "sid"),
        *("cred", "creds", "credential", "credentials", "assertion", "otp", "pin", "private"),
        *("key", "keys", "apikey", "secret", "secrets", "token", "tokens"),
        *("pass", "passcode", "passphrase", "passwd", "password", "passwords", "pwd", "pw"),
        *("hmac", "sas", "sig", "signature"),
    }
)
_ENDINGS: Final = (
    *("auth", "authorization", "credential", "credentials", "jwt", "key", "passphrase", "passwd", "password", "secret"),
    *("sessionid", "signature", "token"),
)
_QUERY_NAMES: Final = frozenset({"code"})
"""Names of credentials that have this meaning only in a query. `code` is the key of an Azure function."""

_LONGEST_KNOWN: Final = 256

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
# Anchored at the start of a parameter: without the anchor, a long text without `=` would be scanned to its end from
# every position.
_PARAMETERS: Final = re.compile(r"(?<![^&;])([^&;=]*)=([^&;]*)")


def names_credential(name: str) -> bool:
    """Whether a field with this name holds a credential: `Authorization`, `X-Api-Key`, `accessToken`, `sig`.

    Such a name contains a word such as `Credentials` (`X-Service-Credentials`), or ends with one (`xauthtoken`). A
    false positive does little harm: a value is masked without need.
    """
    return _is_one(name) if len(name) <= _LONGEST_KNOWN else _is_one.__wrapped__(name)


@lru_cache(maxsize=1024)  # subscriptions share a few short names
def _is_one(name: str) -> bool:
    words = [word.lower() for word in _WORD.findall(name)]
    return not _WORDS.isdisjoint(words) or "".join(words).endswith(_ENDINGS)


def change_query_credentials(url: str, change: ValueChange) -> str:
    """*url* with every credential in its query replaced by the result of *change*. All other bytes are unchanged.

    *change* gets a unique name for each parameter: if a name occurs twice, the second is passed as `name 2`. Names are
    compared as the receiver decodes them.
    """
    before, sharp, fragment = url.partition("#")
    path, mark, query = before.partition("?")
    if not query:
        return url
    seen: Counter[str] = Counter()
    called: set[str] = set()

    def changed(parameter: re.Match[str]) -> str:
        name, value = unquote_plus(parameter[1]), parameter[2]
        if not value or not (names_credential(name) or name.lower() in _QUERY_NAMES):
            return parameter[0]
        seen[name] += 1
        unique = name if seen[name] == 1 else f"{name} {seen[name]}"
        while unique in called:  # a parameter may be called `key 2`
            seen[name] += 1
            unique = f"{name} {seen[name]}"
        called.add(unique)
        return f"{parameter[1]}={change(unique, value)}"

    return f"{path}{mark}{_PARAMETERS.sub(changed, query)}{sharp}{fragment}"


def query_credentials(url: str) -> list[str]:
    """The credentials in the query of *url*, not decoded."""
    found: list[str] = []

    def noted(_: str, value: str) -> str:
        found.append(value)
        return value

    change_query_credentials(url, noted)
    return found
