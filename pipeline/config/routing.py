"""The error of a definition that does not say its `routing`, which has no default."""

import textwrap
from collections.abc import Iterable
from typing import Final

from pipeline.core.errors import ConfigurationError

WIDTH: Final = 110
"""Characters in a line of the error."""

_WORDS: Final = {
    "match": "Each event is for every subscription whose topics and filter match it; a subscription without both gets "
    "every event. Right for topics of business events, keyed by order or customer, say, that several receivers share.",
    "key": "The key of each event is the id of the one subscription that it is for; an event with any other key is "
    "dead-lettered. Right for a topic that is keyed so already, and for receivers that need one strict order of all "
    "their events.",
}


def unsaid_routing(where: str, evidence: Iterable[str] = ()) -> ConfigurationError:
    """The error, for a person who has never heard of `routing`.

    Args:
        where: the path of the entrypoint.
        evidence: sentences about this topic that help to choose.
    """
    paragraphs = [
        f"{where}.routing: is required; allowed: match, key.",
        _wrapped(
            "There is no default: the wrong one would send events to receivers that must not get them, or dead-letter "
            "all of them."
        ),
        *(_wrapped(meaning, f"  {word:<5}  ", " " * 9) for word, meaning in _WORDS.items()),
        *(_wrapped(each) for each in evidence),
        _wrapped(
            "Write it beside the type of the entrypoint, such as routing: match, or set WEBHOOKS_ROUTING=match if the "
            "definition should stay as it is."
        ),
    ]
    return ConfigurationError("\n".join(paragraphs))


def _wrapped(text: str, first: str = "", later: str = "") -> str:
    # Paths and keys are not divided, so that they can be copied.
    return textwrap.fill(
        text, WIDTH, initial_indent=first, subsequent_indent=later, break_on_hyphens=False, break_long_words=False
    )
