"""Searches subscriptions by id, host and metadata. Pure, and fast for a hundred thousand subscriptions."""

from collections.abc import Iterable
from sys import intern
from typing import Final

from pipeline.core.redaction import shown_address
from pipeline.core.shown import shown
from pipeline.core.subscription import Subscription

BETWEEN: Final = "\n"
"""Separates the parts of the searchable text. No search can match across it."""


def host_problem(host: str) -> str | None:
    """Why no subscription can have *host*, as a sentence without subject; None if one can."""
    return f"{shown(host)} is not a host; allowed: HOST or HOST:PORT, without scheme and path" if "/" in host else None


class SearchIndex:
    """The searchable text of each subscription, built once per revision."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._hosts: dict[str, str] = {}

    def update(self, subscription: Subscription) -> None:
        """Add a new or changed subscription."""
        host = intern(shown_address(subscription.url))
        self._hosts[subscription.id] = host
        self._texts[subscription.id] = BETWEEN.join((subscription.id, host, *subscription.metadata.values())).casefold()

    def forget(self, subscription_id: str) -> None:
        """Remove a deleted subscription."""
        self._texts.pop(subscription_id, None)
        self._hosts.pop(subscription_id, None)

    def with_text(self, names: Iterable[str], text: str) -> list[str]:
        """The *names* whose id, host or a metadata value contains *text*, ignoring case."""
        text, texts = text.casefold(), self._texts
        return [name for name in names if text in texts.get(name, "")]

    def with_host(self, names: Iterable[str], host: str) -> list[str]:
        """The *names* whose callback is at *host*, ignoring case. If *host* has no port, any port matches."""
        wanted, hosts = host.casefold(), self._hosts
        any_port = f"{wanted}:"
        found = ((name, hosts.get(name, "").casefold()) for name in names)
        return [
            name for name, at in found if at == wanted or (at.startswith(any_port) and at[len(any_port) :].isdigit())
        ]

    def host(self, name: str) -> str:
        """The host and port of a subscription's callback."""
        return self._hosts.get(name, "")
