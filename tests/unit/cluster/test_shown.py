"""The state of the cluster as JSON."""

from pipeline.cluster.shown import shown_state
from pipeline.cluster.state import LaneSummary, SubscriptionState
from pipeline.core.model import Cause


def test_a_cause_is_shown_with_its_topic_and_partition() -> None:
    cause = Cause("rejected", "the callback answered 400", 7, 50.0)
    lanes = (
        LaneSummary("orders", 1, "behind", "w:1", 9),
        LaneSummary("payments", 3, "failure", "w:1", 7, cause=cause),
    )
    state = SubscriptionState("s", "failure", 1, "a.example:443", "auto", cause=cause, lanes=lanes)
    shown = shown_state(state)["cause"]
    assert (shown["topic"], shown["partition"], shown["offset"]) == ("payments", 3, 7)
    assert shown_state(SubscriptionState("s", "live", 1, "a.example:443", "auto"))["cause"] is None
