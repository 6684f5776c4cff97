"""Merges the problems that have one cause: Kafka does not answer. Pure."""

import re
from collections.abc import Sequence
from typing import Final

_NO_ANSWER: Final = re.compile(
    r"\b(?:KafkaConnection|KafkaTimeout|NodeNotReady|RequestTimedOut|Timeout)Error\b"
    r"|Unable to get cluster metadata over all known brokers|it does not answer in time"
)
"""What aiokafka and unreachable.py say if a broker is silent or can't be reached."""
_UNUSABLE: Final = "Kafka at "
"""How other sentences about a whole cluster begin. They add nothing while it is silent."""


def with_one_silence(problems: Sequence[str], servers: Sequence[str]) -> list[str]:
    """*problems*, with one sentence in plain words in place of all that say that the brokers do not answer.

    The readers have logged the original sentences.
    """
    others = [problem for problem in problems if _NO_ANSWER.search(problem) is None]
    if len(others) == len(problems):
        return others
    others = [problem for problem in others if not problem.startswith(_UNUSABLE)]
    return [f"Kafka at {', '.join(servers)} does not answer; what is shown may be outdated", *others]
