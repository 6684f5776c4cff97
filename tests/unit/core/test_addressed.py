"""Events that the pipeline wrote for one subscription, with `routing: match`."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.addressed import NOBODY, AddressedMatching
from pipeline.core.matching import SubscriptionIndex
from pipeline.core.model import Event, PlainEvent
from pipeline.core.outcome import Rejected
from pipeline.core.subscription import Start, Subscription
from pipeline.core.webhook_ids import WebhookIds
from tests.support.core import IDS, OK, Core, resumed, subscription
from tests.support.fakes import TOPIC
from tests.support.virtual_time import in_virtual_time, settle

PLAIN = PlainEvent(TOPIC, 0, 7, b"order-1", b"{}", [("type", b"paid")])
NULL: Any = None
"""The value of a header, which Kafka allows."""
FOR_A = replace(PLAIN, headers=[*PLAIN.headers, *IDS.address(PLAIN, "a")])


def never(_event: Event) -> bool:
    return False


def matching(ids: WebhookIds = IDS, topic_id: str | None = None, **starts: int) -> AddressedMatching:
    """Three subscriptions: no event matches "a", every event matches "b" and "c"."""
    found = AddressedMatching(SubscriptionIndex(), ids, lambda *_: topic_id)
    for name, wanted in (("a", never), ("b", None), ("c", None)):
        start = {TOPIC: Start((starts[name],), "one")} if name in starts else None
        found.update(name, Subscription(name, 1, "https://receiver.example", filter=wanted, starts=start))
    return found


def header(name: str, value: bytes) -> Callable[[PlainEvent], PlainEvent]:
    """A function that sets a header of an event, and replaces a header with the same name."""
    return lambda event: replace(
        event, headers=[(each, value if each == name else before) for each, before in event.headers]
    )


def test_an_addressed_event_ignores_filters() -> None:
    assert matching().keys(PLAIN) == (b"b", b"c")
    assert matching().keys(replace(PLAIN, headers=())) == (b"b", b"c")
    assert matching().keys(FOR_A) == (b"a",)
    assert matching().keys(FOR_A, {b"a", b"b"}) == (b"a",)
    assert matching().keys(FOR_A, {b"b"}) == ()


def test_an_address_may_name_an_unknown_subscription() -> None:
    found = matching()
    found.update("a", None)
    assert found.keys(FOR_A) == (b"a",)


@pytest.mark.parametrize(
    "changed",
    [
        header("dlq.for", b"b"),
        header("dlq.for", b""),
        header("dlq.seal", b""),
        header("dlq.seal", IDS.seal(PLAIN, "") or b""),
        lambda event: replace(event, value=b"{} "),
        lambda event: replace(event, key=b"order-2"),
        lambda event: replace(event, headers=event.headers[:-1]),
        lambda event: replace(event, headers=[*event.headers, ("dlq.webhook-id", b"events-0-1")]),
        lambda event: replace(event, headers=[("dlq.for", b"c"), *event.headers]),
        lambda event: replace(event, headers=[("dlq.for", NULL), *event.headers]),
        lambda event: replace(event, headers=[("dlq.for", NULL)]),
    ],
)
def test_an_address_without_a_valid_seal_is_for_no_subscription(changed: Callable[[PlainEvent], PlainEvent]) -> None:
    assert matching().keys(changed(FOR_A)) == (NOBODY,)


def test_an_address_is_valid_while_its_key_is_configured() -> None:
    old, new = b"key", b"another"
    assert matching(WebhookIds((new, old))).keys(FOR_A) == (b"a",)
    assert matching(WebhookIds((new,))).keys(FOR_A) == (NOBODY,)
    assert matching(WebhookIds()).keys(FOR_A) == (NOBODY,)
    sealed = replace(PLAIN, headers=WebhookIds((new, old)).address(PLAIN, "a"))
    assert matching(WebhookIds((new,))).keys(sealed) == (b"a",)


def test_a_recreated_subscription_gets_no_event_addressed_before() -> None:
    assert matching(a=8).keys(FOR_A) == (NOBODY,)
    assert matching(a=7).keys(FOR_A) == (b"a",)
    assert matching(topic_id="one", a=8).keys(FOR_A) == (NOBODY,)
    assert matching(topic_id="another", a=8).keys(FOR_A) == (b"a",), "offsets of a deleted topic are not comparable"


@given(st.binary(max_size=8), st.binary(max_size=8), st.text(max_size=4), st.text(max_size=4))
def test_a_seal_is_valid_for_one_address_only(key: bytes, value: bytes, addressee: str, other: str) -> None:
    event = replace(PLAIN, key=key, value=value)
    addressed = replace(event, headers=IDS.address(event, addressee))
    assert IDS.is_for(addressed, addressee.encode())
    assert IDS.is_for(addressed, other.encode()) == (other == addressee)
    assert not IDS.is_for(replace(addressed, headers=[("dlq.seal", IDS.seal(event, "") or b"")]), addressee.encode())


def test_an_addressed_event_keeps_its_sealed_first_id() -> None:
    first = replace(
        PLAIN, headers=[("dlq.webhook-id", b"events-0-1"), ("dlq.seal", IDS.seal(PLAIN, "events-0-1") or b"")]
    )
    again = replace(PLAIN, offset=9, headers=IDS.address(first, "a"))
    assert IDS.of(again) == "events-0-1"
    assert IDS.is_for(again, b"a")
    forged = replace(first, headers=[("dlq.webhook-id", b"events-0-2"), *first.headers[1:]])
    assert IDS.of(replace(PLAIN, offset=9, headers=IDS.address(forged, "a"))) == "events-0-9"


# ------------------------------------------------------------------- in a worker


def begun(core: Core, name: str, wanted: str) -> Subscription:
    """A subscription that gets the events whose keys begin with *wanted*, from offset 0 on."""
    made = subscription(name, starts={TOPIC: Start((0,))}, created=len(core.registry.changes))
    return core.publish(replace(made, filter=lambda event: (event.key or b"").startswith(wanted.encode())))


def sent(core: Core) -> list[tuple[str, int]]:
    return [(each.subscription.id, each.offset) for each in core.send.made]


@in_virtual_time
async def test_a_filter_does_not_reject_an_addressed_event() -> None:
    core = Core(matches=True)
    made = begun(core, "a", "customer")
    begun(core, "b", "order")
    await core.open()
    await core.dispatch([core.address("a"), core.address("a"), *core.produce(1, "order-1")])
    assert sent(core) == [("a", 0), ("b", 2)]
    await core.revise(replace(resumed(made), filter=never))  # the queued events are matched again
    await core.answer(0)
    assert sent(core) == [("a", 0), ("b", 2), ("a", 1)]
    assert core.telemetry.deliveries["filtered"] == 0
    await core.end()


@in_virtual_time
async def test_a_lane_that_is_behind_reads_its_addressed_events() -> None:
    core = Core(matches=True)
    made = begun(core, "a", "order")
    begun(core, "b", "nothing")
    await core.open()
    await core.stream(1, "order-1")
    await core.answer(0, Rejected(400))
    await core.land()
    await core.dispatch([core.address("b"), core.address("a", "other"), *core.produce(1, "other")])
    await core.answer(1)
    await core.revise(resumed(made))
    await core.land()
    for offset in (0, 2):
        await core.read()
        await core.answer(offset)
    assert sent(core) == [("a", 0), ("b", 1), ("a", 0), ("a", 2)]
    assert core.lane("a").is_idle
    await core.end()


@pytest.mark.parametrize("dead_letters", [False, True])
@in_virtual_time
async def test_an_event_for_an_unknown_addressee_is_not_lost_silently(*, dead_letters: bool) -> None:
    core = Core(matches=True, dead_letters=dead_letters)
    begun(core, "b", "order")
    await core.open()
    await core.dispatch([core.address("gone")])
    assert sent(core) == []
    if dead_letters:
        [(letter, _)] = core.letters.pending
        assert (letter.reason, letter.subscription) == ("unknown-subscription", "gone")
    else:
        assert core.telemetry.drops["unknown-subscription"] == 1
    assert core.telemetry.deliveries["unmatched"] == 0
    await core.end()


@in_virtual_time
async def test_an_address_without_a_seal_is_reported() -> None:
    core = Core(matches=True)
    begun(core, "b", "order")
    await core.open()
    await core.dispatch([core.address("b", ids=WebhookIds((b"of somebody else",)))])
    assert sent(core) == []
    assert core.telemetry.drops["undecodable"] == 1
    await core.end()


@in_virtual_time
async def test_a_restart_keeps_events_of_subscriptions_not_yet_read() -> None:
    core = Core(matches=True, dead_letters=True)
    await core.open()
    await core.dispatch([core.address("gone") for _ in range(6)])
    await core.land()
    assert core.row_topic.rows[b"gone"].next == 0, "the dead-letter topic does not answer, and the lane is full"
    core.commit()
    assert core.committed == 6
    core.rows.is_dead = True

    after = await Core(before=core, matches=True, dead_letters=False).open()
    for _ in range(6):
        await after.read()
    assert after.telemetry.drops["unknown-subscription"] == 6
    await core.end()
    await after.end()


@in_virtual_time
async def test_a_subscription_gets_events_that_waited_for_its_record() -> None:
    core = await Core(matches=True).open()
    made = begun(core, "a", "customer")
    await core.dispatch([core.address("a")])
    core.hear()
    await settle()
    await core.land()
    await core.read()
    await core.answer(0, OK)
    assert sent(core) == [("a", 0)]
    assert sum(core.telemetry.drops.values()) == 0
    assert made.revision == core.lane("a").events.progress.revision
    await core.end()
