"""Which commands concern a partition, and which of them its owner has not carried out yet. Pure.

The owner records in the lane's row which commands it has carried out (commands.py). A command that is not carried out
yet will move the lane. Until then, row and committed offset do not show how many events wait.
"""

from pipeline.core.model import Cursor
from pipeline.core.subscription import Command, ReplayOffset, ReplayTimestamp, ResumeFrom, Skip, Subscription


def names(target: ReplayOffset | Skip, topic: str, number: int) -> bool:
    """Whether a command names this partition."""
    return target.partition == number and target.topic in {None, topic}


def is_replay_in(target: ResumeFrom, topic: str, number: int) -> bool:
    """Whether a command is a replay that concerns this partition, even if the subscription has no lane there."""
    # A time concerns every partition: the events of a key may be in any partition, because of the producer's
    # partitioner, or because the topic has gained partitions.
    return isinstance(target, ReplayTimestamp) or (isinstance(target, ReplayOffset) and names(target, topic, number))


def pending_in(subscription: Subscription, topic: str, number: int, row: Cursor | None) -> Command | None:
    """The first command that the owner of a partition has not carried out, according to the lane's row.

    A replay that was carried out leaves a row, so without a row (None) each replay is pending. A skip may leave none.
    """
    return next((each for each in subscription.commands if _is_pending(each, topic, number, row)), None)


def _is_pending(command: Command, topic: str, number: int, row: Cursor | None) -> bool:
    target = command.resume_from
    if row is None:
        return is_replay_in(target, topic, number)
    if command.revision <= row.revision:
        return False
    return names(target, topic, number) if isinstance(target, Skip) else is_replay_in(target, topic, number)
