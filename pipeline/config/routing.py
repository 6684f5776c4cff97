"""The error for a definition without `routing`, which has no default."""

import textwrap
from collections.abc import Iterable
from typing import Final

from pipeline.core.errors import ConfigurationError

WIDTH: Final = 110
"""The longest line of the error, in characters."""

_WORDS: Final = {
    "match": "An event is for every subscription whose topics and filter match it; a subscription with neither gets "
    "every event. Use it for business topics, which are keyed by order or customer and shared by several receivers.",
    "key": "The key of an event is the id of its only subscription; an event with any other key is dead-lettered. Use "
    "it if the producer already sets such keys, or if each receiver needs one strict order of all its events.",
}


def unsaid_routing(where: str, evidence: Iterable[str] = ()) -> ConfigurationError:
    """The error, for a reader who does not know `routing`.

    Args:
        where: the path of the entrypoint.
        evidence: sentences about this topic that help to choose.
    """
    paragraphs = [
        f"{where}.routing: is required; allowed: match, key.",
        _wrapped(
            "There is no default, because a wrong routing would send events to receivers that must not get them, or "
            "dead-letter all events."
        ),
        *(_wrapped(meaning, f"  {word:<5}  ", " " * 9) for word, meaning in _WORDS.items()),
        *(_wrapped(each) for each in evidence),
        _wrapped(
            "Write it next to the type of the entrypoint, such as routing: match, or set WEBHOOKS_ROUTING=match to "
            "leave the definition unchanged."
        ),
    ]
    return ConfigurationError("\n".join(paragraphs))


def _wrapped(text: str, first: str = "", later: str = "") -> str:
    # Paths and keys are not split between lines, so that they can be copied.
    return textwrap.fill(
        text, WIDTH, initial_indent=first, subsequent_indent=later, break_on_hyphens=False, break_long_words=False
    )
