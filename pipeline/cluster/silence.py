"""Merges the problems that have one cause: Kafka does not answer. Pure."""

import re
from collections.abc import Sequence
from typing import Final

from pipeline.kafka.admin import NOT_REACHED

_NO_ANSWER: Final = re.compile(
    r"\b(?:KafkaConnection|KafkaTimeout|NodeNotReady|RequestTimedOut|Timeout)Error\b"
    rf"|Unable to get cluster metadata over all known brokers|it does not answer in time|{NOT_REACHED}"
)
"""What aiokafka, admin.py and unreachable.py say if a broker is silent or can't be reached."""
_UNUSABLE: Final = "Kafka at "
"""How a sentence about a whole cluster begins. Such a sentence may name the exact reason, such as a refused login."""
_NO_COORDINATOR: Final = "[Error 15]"
"""Another sign of a silent broker. A sentence with it names no exact reason."""


def with_one_silence(problems: Sequence[str], servers: Sequence[str]) -> list[str]:
    """Replaces all *problems* which say that the brokers do not answer by a single plain sentence.

    The parts that reported the problems have logged the original sentences.
    """
    others = [problem for problem in problems if _NO_ANSWER.search(problem) is None]
    if len(others) == len(problems):
        return others
    exact = [problem for problem in others if problem.startswith(_UNUSABLE) and _NO_COORDINATOR not in problem]
    silence = exact or [f"Kafka at {', '.join(servers)} does not answer; what is shown may be outdated"]
    return [*silence, *(problem for problem in others if not problem.startswith(_UNUSABLE))]
