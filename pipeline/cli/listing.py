"""Formats subscriptions for `list` and `get`: states, or documents with the recorded delivery state."""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pipeline.cli.output import as_table, printable
from pipeline.cluster.rows import Noted, shown
from pipeline.cluster.state import SubscriptionState
from pipeline.core.redaction import shown_url
from pipeline.core.shown import one_line
from pipeline.core.subscription import Routing
from pipeline.kafka.topics import cursors_topic
from pipeline.observability.shown import shown_text
from pipeline.subscriptions.secrets import is_undecryptable

COLUMNS: Final = ("ID", "STATE", "WAITING", "OLDEST", "HOST", "WHY")
WIDE: Final = ("QOS", "REVISION", "PUBLISHER", "CONSUMER", "CALLBACK")
"""Additional columns with `--wide`."""
OF_MATCH: Final = ("TOPICS", "BEGINS")
"""Additional columns with `--wide` and `routing: match`."""
WIDTH: Final = 100
"""The width of the table in characters if the terminal does not report its width."""
LEAST: Final = 12
"""The smallest width of a column that is cut."""
UNITS: Final = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def as_documents(
    documents: Sequence[dict[str, Any]], noted: Noted | str, routing: Routing | None
) -> list[dict[str, Any]]:
    """The documents, with the routing and the delivery state, which `apply` ignores."""
    return [
        {
            **document,
            "routing": None if routing is None else routing.value,
            "delivery": None if isinstance(noted, str) else [shown(row) for row in noted.of(document["id"])],
        }
        for document in documents
    ]


def legend(app: str, noted: Noted | str) -> str:
    """A sentence about the source of the recorded delivery state."""
    if isinstance(noted, str):
        return f"delivery state unknown: the workers' rows can't be read: {noted}"
    return (
        f"delivery: the state that the workers recorded in {cursors_topic(app)}; a partition without an entry has "
        "not failed and is not behind. All other fields are the desired state."
    )


def of_other_keys(problems: Iterable[str | None]) -> str | None:
    """Advice if the secrets of some subscriptions can't be decrypted; else None."""
    count = sum(map(is_undecryptable, problems))
    if not count:
        return None
    return (
        f"WEBHOOKS_SECRET_KEYS: no key decrypts the secrets of {count} of these subscriptions; set the keys that the "
        "workers have, or add the missing key after a comma"
    )


def as_rows(states: Sequence[SubscriptionState], now: float) -> str:
    """A table that fits the terminal. All columns but the ids may be cut."""
    width = shutil.get_terminal_size((WIDTH, 0)).columns
    rows = [[printable(cell) for cell in _row(each, now)] for each in states]
    *fixed, hosts, _ = ([name, *column] for name, *column in zip(COLUMNS, *rows, strict=True))
    room = width - sum(max(map(len, column)) + 2 for column in fixed) - 2
    for_host = max(LEAST, min(max(map(len, hosts)), room // 2))
    for_reason = max(LEAST, room - for_host)
    return as_table(COLUMNS, [[*row[:-2], cut(row[-2], for_host), cut(row[-1], for_reason)] for row in rows])


def as_wide_rows(
    states: Sequence[SubscriptionState], documents: Iterable[dict[str, Any]], routing: Routing | None, now: float
) -> str:
    """A table with all columns, of any width."""
    matches = routing is Routing.MATCH
    known = {each["id"]: each for each in documents}
    columns = (*COLUMNS, *WIDE, *(OF_MATCH if matches else ()))
    rows = ((*_row(each, now), *_applied(each, known.get(each.id, {}), matches=matches)) for each in states)
    return as_table(columns, list(rows))


def _row(state: SubscriptionState, now: float) -> tuple[object, ...]:
    oldest = state.oldest_waiting_at
    return (
        state.id,
        state.state,
        waiting(state),
        None if oldest is None else age(now - oldest),
        state.host or None,
        why(state) or None,
    )


def _applied(state: SubscriptionState, document: Mapping[str, Any], *, matches: bool) -> tuple[object, ...]:
    url = document.get("configuration", {}).get("entrypointConfiguration", {}).get("callbackUrl")
    topics = document.get("topics")
    return (
        state.qos,
        state.revision,
        document.get("status"),
        document.get("consumerStatus"),
        None if url is None else shown_url(url),
        *(("all" if topics is None else ",".join(topics), document.get("startFrom")) if matches else ()),
    )


def waiting(state: SubscriptionState) -> str:
    """How many events wait: `12`, at most `≤12`, or `?`."""
    if state.waiting is not None:
        return f"{state.waiting:,}"
    return "?" if state.waiting_at_most is None else f"≤{state.waiting_at_most:,}"


def why(state: SubscriptionState) -> str:
    """Why a subscription delivers nothing, or only dead letters, without facts that are in other columns."""
    if state.problem is not None:
        return one_line(shown_text(state.problem))
    found = state.cause or state.error or state.dead_letter_run
    if found is None:
        return ""
    message = one_line(shown_text(found.message)).removeprefix("the callback ")
    if found is state.dead_letter_run:
        message = f"{state.dead_letter_run.count:,} dead-lettered: {message}"
    for word in (" by", " to", " from", " of", " with"):
        message = message.replace(f"{word} {state.host}", "")
    return message


def age(seconds: float) -> str:
    """A length of time in its largest unit: `12s`, `3m`, `5h`, `2d`."""
    unit, size = next((each for each in UNITS if seconds >= each[1]), UNITS[-1])
    return f"{max(0.0, seconds) // size:.0f}{unit}"


def cut(text: str, most: int) -> str:
    """*text*, cut with … if it is too long."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
