"""What subscriptions are searched by: their ids, hosts and metadata. Pure."""

from typing import Final

from pipeline.core.redaction import shown_host
from pipeline.core.subscription import Subscription

BETWEEN: Final = "\n"
"""Between the parts of a text, so that nothing is found across two of them."""


class Search:
    """The texts of all subscriptions, made once for each revision."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[Subscription, str, str]] = {}

    def note(self, subscription: Subscription) -> tuple[Subscription, str, str]:
        """Prepare the text of a subscription."""
        found = self._found.get(subscription.id)
        if found is None or found[0] is not subscription:
            host = shown_host(subscription.url)
            text = BETWEEN.join((subscription.id, host, *subscription.metadata.values())).casefold()
            found = self._found[subscription.id] = (subscription, host, text)
        return found

    def has(self, subscription: Subscription, text: str) -> bool:
        """Whether *text*, which is casefolded, is a part of its id, its host or a value of its metadata."""
        return text in self.note(subscription)[2]

    def host(self, subscription: Subscription) -> str:
        """Host and port of its callback, without credentials."""
        return self.note(subscription)[1]

    def forget(self, subscription_id: str) -> None:
        """A subscription was deleted."""
        self._found.pop(subscription_id, None)
