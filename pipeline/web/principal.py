"""The caller of the web view, and what the caller may do. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from pipeline.core.subscription import Subscription

Scope = Literal["read", "write", "secrets", "metrics"]
SCOPES: Final[frozenset[Scope]] = frozenset(get_args(Scope))

MOST_TENANT_ENTRIES: Final = 16


@dataclass(frozen=True, slots=True)
class Principal:
    """The owner of a token.

    Attributes:
        name: the name in the audit log.
        scopes: "read": show subscriptions and their states; "write": change subscriptions; "secrets": get a new secret;
            "metrics": read /metrics only.
        tenant: the metadata that a subscription must have for the owner to see it; empty: the owner sees all.
    """

    name: str
    scopes: frozenset[Scope] = SCOPES
    tenant: Mapping[str, str] = field(default_factory=dict)

    def seen(self, found: Subscription | None) -> Subscription | None:
        """The subscription if the owner may see it, otherwise None.

        The API and the pages make this check before they show anything about one subscription. `limited`
        (web/api/states.py) is the check for many subscriptions.
        """
        if found is None or any(found.metadata.get(name) != value for name, value in self.tenant.items()):
            return None
        return found
