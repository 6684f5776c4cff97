"""Which headers and which parameters of a URL's query hold credentials: their names say so. Pure."""

import re
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_plus

ValueChange = Callable[[str, str], str]
"""(name of a parameter or path of a field, its value as it stands there) -> what stands there afterwards."""

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
"""Names that mean nothing in a header; `code` is the key of an Azure function."""

_LONGEST_KNOWN: Final = 256

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
# From the beginning of each parameter alone: a long text without a `=` would be read to its end from everywhere.
_PARAMETERS: Final = re.compile(r"(?<![^&;])([^&;=]*)=([^&;]*)")


def names_credential(name: str) -> bool:
    """Whether what is called *name* is one: `Authorization`, `X-Api-Key`, `accessToken`, `sig`.

    A word of it says so (`X-Service-Credentials`), or its end (`xauthtoken`). A name too many costs little: its value
    is not shown.
    """
    return _is_one(name) if len(name) <= _LONGEST_KNOWN else _is_one.__wrapped__(name)


@lru_cache(maxsize=1024)  # the same few names for every subscription; long ones would be kept for nothing
def _is_one(name: str) -> bool:
    words = [word.lower() for word in _WORD.findall(name)]
    return not _WORDS.isdisjoint(words) or "".join(words).endswith(_ENDINGS)


def change_query_credentials(url: str, change: ValueChange) -> str:
    """*url* with every credential in its query put through *change*; all else stays, byte by byte.

    Of several parameters of one name the second is called `name 2`, and none is called as another one. Names are
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
    """The credentials in the query of *url*, as they stand there."""
    found: list[str] = []

    def noted(_: str, value: str) -> str:
        found.append(value)
        return value

    change_query_credentials(url, noted)
    return found
