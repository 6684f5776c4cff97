"""Lists the differences between a stored subscription and its replacement, without secrets. Pure."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipeline.subscriptions.envelope import to_document
from pipeline.subscriptions.schema import WireSubscription
from pipeline.subscriptions.secrets import mask, secrets_in


@dataclass(frozen=True, slots=True)
class Difference:
    """A field that differs.

    Attributes:
        before, after: the field's values as JSON, secrets masked; None where the field is missing.
        is_secret: the field is a secret that changes; the values are not shown.
    """

    path: str
    before: str | None
    after: str | None
    is_secret: bool = False

    def __str__(self) -> str:
        """One line for people."""
        if self.is_secret:
            return f"~ {self.path}: changed, a secret"
        if self.before is None:
            return f"+ {self.path}: {self.after}"
        if self.after is None:
            return f"- {self.path}: {self.before}"
        return f"~ {self.path}: {self.before} -> {self.after}"


def differences(wanted: WireSubscription, stored: WireSubscription | None) -> list[Difference]:
    """The fields that differ, by path. The arguments have plain secrets; *stored* is None for a new subscription."""
    after, before = _shown(wanted), {} if stored is None else _shown(stored)
    found = [
        Difference(path, before.get(path), after.get(path))
        for path in {**before, **after}
        if before.get(path) != after.get(path)
    ]
    secrets, former = dict(secrets_in(wanted)), {} if stored is None else dict(secrets_in(stored))
    changed = [path for path, value in secrets.items() if former.get(path, value) != value]
    found += (Difference(path, None, None, is_secret=True) for path in changed)
    return sorted(found, key=lambda each: each.path)


def dropped(wanted: WireSubscription, stored: WireSubscription) -> str | None:
    """A warning if *wanted* lacks the signing, auth or filter that *stored* has; None if it lacks nothing."""
    new, old = (each.configuration.entrypoint_configuration for each in (wanted, stored))
    had_auth, has_auth = (each.auth is not None and each.auth.type != "none" for each in (old, new))
    warnings = (
        (old.signing is not None and new.signing is None, "signing is removed: requests will not be signed"),
        (had_auth and not has_auth, "auth is removed: requests will have no credentials"),
        (old.filter is not None and new.filter is None, "filter is removed: it will no longer limit the events"),
    )
    return "; ".join(sentence for is_dropped, sentence in warnings if is_dropped) or None


def _shown(subscription: WireSubscription) -> Mapping[str, str]:
    return dict(_leaves(to_document(mask(subscription))))


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    match value:
        case dict() if value:
            for name, each in value.items():
                yield from _leaves(each, f"{path}.{name}" if path else str(name))
        case list() if value:
            for number, each in enumerate(value):
                yield from _leaves(each, f"{path}[{number}]")
        case None:
            pass  # null means that the field is not set
        case _:
            yield path, json.dumps(value, ensure_ascii=False)
