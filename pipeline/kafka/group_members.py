"""Asks a consumer group's coordinator which member owns which partition."""

from collections.abc import Mapping
from typing import Final

from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import NoError, for_code

from pipeline.core.errors import BrokerError
from pipeline.kafka.admin import administration
from pipeline.kafka.connection import KafkaConnection

AT_REST: Final = {"Stable", "Empty", "Dead"}
"""The states of a group that is not rebalancing."""


async def assigned_partitions(connection: KafkaConnection, group: str) -> Mapping[tuple[str, int], str] | None:
    """By partition, the host of the member that owns it; None while the group is rebalancing.

    Raises:
        BrokerError: the cluster can't be reached, or this user may not describe the group.
    """
    async with administration(connection) as admin:
        [answer] = await admin.describe_consumer_groups([group])
    code, _group, state, _type, _protocol, members, *_ = answer.groups[0]
    error = for_code(code)
    if error is not NoError:
        raise BrokerError(f"group {group}: its members can't be described: {error.description or error.message}")
    if state not in AT_REST:
        return None
    found: dict[tuple[str, int], str] = {}
    for _member, _client, host, _metadata, assignment, *_ in members:
        if assignment:
            for topic, numbers in ConsumerProtocolMemberAssignment.decode(assignment).assignment:
                found.update(dict.fromkeys(((topic, number) for number in numbers), host.lstrip("/")))
    return found
