"""All faults, in the order of the table."""

import random
from typing import Final

from tests.faults.broker_faults import BROKER_FAULTS
from tests.faults.fault import CLEAN, Fault
from tests.faults.receiver_faults import RECEIVER_FAULTS
from tests.faults.stage import Stage
from tests.faults.subscription_faults import SUBSCRIPTION_FAULTS
from tests.faults.surrounding_faults import SURROUNDING_FAULTS
from tests.faults.token_faults import TOKEN_FAULTS
from tests.faults.topic_faults import TOPIC_FAULTS
from tests.faults.worker_faults import WORKER_FAULTS


async def nothing(stage: Stage, _: random.Random) -> None:
    """Only the load."""
    await stage.steady(6)


_ALL: Final = (
    Fault("none", "no fault", nothing, CLEAN, set()),
    *WORKER_FAULTS,
    *SUBSCRIPTION_FAULTS,
    *BROKER_FAULTS,
    *TOPIC_FAULTS,
    *SURROUNDING_FAULTS,
    *TOKEN_FAULTS,
    *RECEIVER_FAULTS,
)
FAULTS: Final = {fault.name: fault for fault in _ALL}
