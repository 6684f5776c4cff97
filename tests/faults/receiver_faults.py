"""Faults of receivers: down, hanging, flapping, slow, failing, rejecting."""

import random
from typing import Final

from tests.faults.fault import CLEAN, INTERRUPTED, REFUSED, Fault
from tests.faults.ledger import Promise
from tests.faults.stage import Stage


async def receiver_down(stage: Stage, _: random.Random) -> None:
    """The receiver is down for some seconds."""
    await stage.receiver.behave(name="down")
    await stage.steady(6)
    await stage.receiver.behave(name="ok")


async def receiver_hanging(stage: Stage, _: random.Random) -> None:
    """Requests of half of the subscriptions are accepted and not answered."""
    await stage.receiver.behave(name="hang", only="odd")
    await stage.steady(8)
    await stage.receiver.behave(name="ok")


async def receiver_flapping(stage: Stage, _: random.Random) -> None:
    """The receiver is down and up again, five times."""
    for _number in range(5):
        await stage.receiver.behave(name="down")
        await stage.steady(0.7)
        await stage.receiver.behave(name="ok")
        await stage.steady(0.7)


async def receiver_slow(stage: Stage, _: random.Random) -> None:
    """Requests of half of the subscriptions are answered after half a second."""
    await stage.receiver.behave(name="slow", seconds=0.5, only="odd")
    await stage.steady(8)
    await stage.receiver.behave(name="ok")


async def receiver_failing(stage: Stage, _: random.Random) -> None:
    """Every second answer is 503."""
    await stage.receiver.behave(name="errors", share=0.5)
    await stage.steady(6)
    await stage.receiver.behave(name="ok")


async def receiver_rejecting(stage: Stage, _: random.Random) -> None:
    """Every fifth answer is 422: dead letters."""
    await stage.receiver.behave(name="reject", share=0.2)
    await stage.steady(6)
    await stage.receiver.behave(name="ok")


RECEIVER_FAULTS: Final = (
    # A receiver that goes down breaks connections, and the requests that are under way count as sent.
    Fault("receiver-down", "receiver: down for 6 s", receiver_down, INTERRUPTED, {"receiver"}),
    Fault("receiver-hanging", "receiver: half of it hangs for 8 s", receiver_hanging, REFUSED, {"receiver"}),
    Fault(
        "receiver-flapping",
        "receiver: down and up, five times",
        receiver_flapping,
        Promise(interrupted=True, lost_at_most_once=5),
        {"receiver"},
    ),
    Fault("receiver-slow", "receiver: half of it answers after 0.5 s", receiver_slow, CLEAN, {"receiver"}),
    Fault("receiver-failing", "receiver: every second answer is 503", receiver_failing, REFUSED, {"receiver"}),
    Fault("receiver-rejecting", "receiver: every fifth answer is 422", receiver_rejecting, REFUSED, {"receiver"}),
)
