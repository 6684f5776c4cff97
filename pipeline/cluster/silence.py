"""Merges the problems that have one cause: Kafka does not answer. Pure."""

import re
from collections.abc import Sequence
from typing import Final

_NO_ANSWER: Final = re.compile(r"\b(?:KafkaConnection|KafkaTimeout|NodeNotReady|RequestTimedOut|Timeout)Error\b")
"""The names of errors that aiokafka raises if a broker is silent or can't be reached."""


def with_one_silence(problems: Sequence[str], servers: Sequence[str]) -> list[str]:
    """*problems*, with one sentence in plain words in place of all that say that the brokers do not answer.

    The readers have logged the original sentences.
    """
    others = [problem for problem in problems if _NO_ANSWER.search(problem) is None]
    if len(others) == len(problems):
        return others
    return [f"Kafka at {', '.join(servers)} does not answer; what is shown may be outdated", *others]
