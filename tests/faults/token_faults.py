"""Faults of token endpoints: down, slow, invalid answers, refusals."""

import random
from typing import Final

from tests.faults.fault import CLEAN, REFUSED, Fault
from tests.faults.stage import Stage


async def tokens_down(stage: Stage, _: random.Random) -> None:
    """The token endpoint answers 503."""
    await _tokens(stage, "down")


async def tokens_slow(stage: Stage, _: random.Random) -> None:
    """The token endpoint takes two seconds for each answer."""
    await _tokens(stage, "slow")


async def tokens_wrong(stage: Stage, _: random.Random) -> None:
    """The token endpoint gives invalid answers. Subscriptions fail, and an operator resumes them."""
    await _tokens(stage, "wrong")
    await stage.resume_failed()


async def tokens_refused(stage: Stage, _: random.Random) -> None:
    """The token endpoint refuses the credentials. Subscriptions fail, and an operator resumes them."""
    await _tokens(stage, "refuse")
    await stage.resume_failed()


async def _tokens(stage: Stage, mode: str) -> None:
    await stage.receiver.behave(tokens=mode)
    await stage.steady(8)
    await stage.receiver.behave(tokens="ok")
    await stage.steady(2)


TOKEN_FAULTS: Final = (
    Fault("tokens-down", "token endpoint: 503 for 8 s", tokens_down, CLEAN, {"receiver"}, needs={"tokens"}),
    Fault("tokens-slow", "token endpoint: 2 s for each answer", tokens_slow, CLEAN, {"receiver"}, needs={"tokens"}),
    Fault(
        "tokens-wrong",
        "token endpoint: nonsense for 8 s, then resumed",
        tokens_wrong,
        REFUSED,
        {"receiver"},
        needs={"tokens"},
    ),
    Fault(
        "tokens-refused",
        "token endpoint: refuses for 8 s, then resumed",
        tokens_refused,
        REFUSED,
        {"receiver"},
        needs={"tokens"},
    ),
)
