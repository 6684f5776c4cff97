"""Notifications for operators, and the outlets that send them: cluster/notifications.py."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from pipeline.cluster.notification_outlets import MOST_WAITING, Outlets, WebhookSink
from pipeline.cluster.notifications import CONTENT_TYPE, Notification, Notifier, cloud_event
from pipeline.cluster.retention_watch import ASK_SECONDS, RetentionWatch
from pipeline.core.clock import steady_now
from pipeline.core.errors import BrokerError
from pipeline.core.model import Cause, Event, PlainEvent
from pipeline.core.observer import Observer
from pipeline.core.outcome import Delivered, Outcome, Rejected, ServerError
from pipeline.core.subscription import RetryPolicy, Skip, Subscription
from pipeline.observability.telemetry import Telemetry
from tests.support.core import Core, paused, subscription
from tests.support.fakes import VirtualClock
from tests.support.virtual_time import in_virtual_time, settle

ONCE = RetryPolicy(enabled=False)
PROBES = RetryPolicy(initial_delay_seconds=60.0, max_delay_seconds=60.0, max_elapsed_seconds=100.0)
DOWN = ServerError(500)


class Told(list[Notification]):
    """Collects notifications."""

    def kinds(self) -> list[str]:
        return [each.kind for each in self]


def notifier(told: Told, observer: Observer | None = None, errors: list[str] | None = None) -> Notifier:
    return Notifier(
        observer or Telemetry(),
        told.append,
        clock=VirtualClock(),
        dead_letter_failed=([] if errors is None else errors).append,
        monotonic=steady_now,
    )


async def failing(told: Told, probes: RetryPolicy | None = None) -> Core:
    """A core that has reported the failure of a subscription with its first event."""
    core = Core(
        subscription(retry=ONCE, probes=probes, metadata={"tenant": "a"}),
        observed_by=lambda telemetry: notifier(told, telemetry),
    )
    await core.open()
    await core.stream(2)
    await core.answer(0, DOWN)
    await core.land()
    return core


@in_virtual_time
async def test_a_failure_and_its_end_by_a_command_are_notified() -> None:
    told = Told()
    core = await failing(told)
    await core.revise(subscription(retry=ONCE, resume_from=Skip(0, 0)))

    assert told.kinds() == ["subscription.failed", "subscription.recovered"]
    failed, recovered = told
    assert failed.subject == "s"
    assert failed.data["cause"]["kind"] == "server-error"
    assert (failed.data["host"], failed.data["metadata"]) == ("receiver.example", {"tenant": "a"})
    assert recovered.data["by"] == "command"
    await core.end()


@in_virtual_time
async def test_a_successful_probe_is_notified_as_a_recovery() -> None:
    told = Told()
    core = await failing(told, PROBES)
    await asyncio.sleep(60)
    await core.read()
    await core.answer(0)

    assert told.kinds() == ["subscription.failed", "subscription.recovered"]
    assert told[1].data["by"] == "probe"
    await core.end()


@in_virtual_time
async def test_the_end_of_all_probes_is_notified_once() -> None:
    told = Told()
    core = await failing(told, PROBES)
    await asyncio.sleep(60)
    await core.read()
    await core.answer(0, DOWN)
    await asyncio.sleep(10_000)

    assert told.kinds() == ["subscription.failed", "subscription.disabled"]
    await core.end()


@in_virtual_time
async def test_a_failure_in_several_partitions_is_notified_once() -> None:
    told = Told()
    books, cause, each = notifier(told), Cause("exception", "refused", 1, 1.0), subscription()
    for partition in range(3):
        books.subscription_failed(each, "events", partition, cause)
    for partition in range(3):
        assert told.kinds() == ["subscription.failed"]
        books.subscription_recovered(each, "events", partition, cause, "probe")
    assert told.kinds() == ["subscription.failed", "subscription.recovered"]

    books.subscription_failed(each, "events", 1, cause)
    assert told.kinds()[2:] == ["subscription.failed"]


@in_virtual_time
async def test_the_end_of_an_earlier_owner_s_failure_is_notified_once() -> None:
    told = Told()
    books, cause, each = notifier(told), Cause("exception", "refused", 1, 1.0), subscription()
    books.subscription_failed(each, "events", 0, cause)
    books.rebalanced()
    for partition in range(3):
        books.subscription_recovered(each, "events", partition, cause, "probe")
    assert told.kinds() == ["subscription.failed", "subscription.recovered"]


async def test_a_failure_after_a_deletion_is_notified() -> None:
    """The deleted subscription was in FAILURE in another partition."""
    told = Told()
    found, cause = notifier(told), Cause("server-error", "down", 0, 1.0)
    found.subscription_failed(subscription(), "events", 0, cause)
    found.on_subscription("s", None)
    found.subscription_failed(subscription(), "events", 1, cause)
    found.subscription_recovered(subscription(), "events", 1, cause, "probe")
    assert told.kinds() == ["subscription.failed", "subscription.failed", "subscription.recovered"]


async def test_each_failure_after_a_rebalance_has_its_end() -> None:
    """Otherwise operators would believe that a subscription is still in FAILURE."""
    told = Told()
    found, cause = notifier(told), Cause("server-error", "down", 0, 1.0)
    for _ in range(2):
        found.subscription_failed(subscription(), "events", 0, cause)
        found.rebalanced()
        found.subscription_recovered(subscription(), "events", 0, cause, "probe")
    assert told.kinds() == ["subscription.failed", "subscription.recovered"] * 2


@in_virtual_time
async def test_failing_dead_letters_are_notified_until_they_work() -> None:
    told, errors = Told(), list[str]()
    books, event = notifier(told, errors=errors), PlainEvent("events", 0, 1, b"s", b"")
    for _ in range(3):
        books.dead_letter_failed("the broker is away")
    books.dead_lettered("rejected", subscription="s", event=event)
    books.dead_lettered("rejected", subscription="s", event=event)

    assert told.kinds() == ["dead-letters.unavailable", "dead-letters.available"]
    assert errors == ["the broker is away"] * 3


@in_virtual_time
async def test_a_fenced_partition_is_notified() -> None:
    told = Told()
    core = await failing(told)
    core.dispatcher.lost(core.partition)
    await settle()
    assert told.kinds()[1:] == ["worker.fenced"]
    assert told[1].subject == "events/0"
    await core.end()


def test_a_notification_is_a_cloud_event() -> None:
    event = json.loads(
        cloud_event(Notification("worker.fenced", "events/0", 1.5, {"partition": 0}, "one"), "/app/host:1")
    )
    assert event == {
        "specversion": "1.0",
        "id": "one",
        "source": "/app/host:1",
        "type": "webhook-pipeline.worker.fenced",
        "subject": "events/0",
        "time": "1970-01-01T00:00:01.500Z",
        "datacontenttype": "application/json",
        "data": {"partition": 0},
    }


@in_virtual_time
async def test_no_notification_contains_a_secret() -> None:
    told = Told()
    each = replace(subscription(), url="https://user:hunter2@example.com/hook?token=hunter2")
    cause = Cause("exception", "answered to Bearer hunter2.hunter2", 1, 1.0)
    notifier(told).subscription_failed(each, "events", 0, cause)
    assert b"hunter2" not in cloud_event(told[0], "/app")


# ------------------------------------------------------------------- outlets


class Webhook:
    """A webhook with scripted outcomes."""

    def __init__(self, *answers: Outcome) -> None:
        self.answers = list(answers)
        self.calls: list[tuple[Event, int]] = []

    async def __call__(self, subscription: Subscription, event: Event, attempt: int) -> Outcome:
        assert subscription.url == "https://ops.example/hook"
        self.calls.append((event, attempt))
        return self.answers.pop(0) if self.answers else Delivered(200)


class Drops(list[tuple[str, int, str]]):
    """Collects dropped notifications."""

    def __call__(self, outlet: str, count: int, error: str) -> None:
        self.append((outlet, count, error))


def notes(count: int) -> Sequence[Notification]:
    return [Notification("worker.fenced", f"events/{number}", 1.0, {}) for number in range(count)]


async def sent(
    webhook: Webhook,
    told: Sequence[Notification],
    drops: Drops,
    *,
    seconds: float = 10_000.0,
    clock: VirtualClock | None = None,
) -> None:
    """Send these notifications, for at most *seconds*."""
    sink = WebhookSink(webhook, "https://ops.example/hook", None, "/app")
    outlets = Outlets([sink], clock or VirtualClock(), drops)
    for each in told:
        outlets.put(each)
    running = asyncio.get_running_loop().create_task(outlets.run())
    await asyncio.sleep(seconds)
    running.cancel()
    await outlets.close()


@in_virtual_time
async def test_the_webhook_gets_notifications_in_order_with_retries() -> None:
    webhook, drops = Webhook(ServerError(503), ServerError(503)), Drops()
    await sent(webhook, notes(2), drops)
    bodies: list[dict[str, Any]] = [json.loads(event.value or b"") for event, _ in webhook.calls]

    assert [body["subject"] for body in bodies] == ["events/0"] * 3 + ["events/1"]
    assert [attempt for _, attempt in webhook.calls] == [1, 2, 3, 1]
    ids = [(event.topic, event.offset) for event, _ in webhook.calls]
    assert len(set(ids)) == 2, "all attempts of a notification have the same id"
    assert webhook.calls[0][0].headers == (("content-type", CONTENT_TYPE.encode()),)
    assert drops == []


@in_virtual_time
async def test_a_rejected_notification_is_dropped_and_logged() -> None:
    webhook, drops = Webhook(Rejected(400)), Drops()
    await sent(webhook, notes(2), drops)
    assert drops == [("webhook", 1, "attempt 1: the callback answered 400")]
    assert len(webhook.calls) == 2


@in_virtual_time
async def test_notifications_for_a_webhook_that_is_down_are_limited() -> None:
    webhook, drops = Webhook(*[ServerError(500)] * 10_000), Drops()
    await sent(webhook, notes(MOST_WAITING + 5), drops, seconds=1.0)
    reasons = Counter(error for _, _, error in drops)
    assert reasons == {f"more than {MOST_WAITING} are waiting": 5, "the worker is stopping": 1}
    assert sum(count for _, count, _ in drops) == MOST_WAITING + 5, "the notification that is being sent counts too"


@in_virtual_time
async def test_a_webhook_is_given_up_after_six_hours() -> None:
    webhook, drops = Webhook(*[ServerError(500)] * 10_000), Drops()
    await sent(webhook, notes(1), drops, seconds=30_000.0)
    [(_, count, error)] = drops
    assert (count, error.endswith("the callback answered 500")) == (1, True)


@in_virtual_time
async def test_a_notification_s_time_limit_ignores_clock_jumps() -> None:
    clock, drops = VirtualClock(), Drops()

    class Jumping(Webhook):
        async def __call__(self, *args: Any) -> Outcome:
            clock.ahead += 7 * 3600.0
            return await super().__call__(*args)

    webhook = Jumping(DOWN, DOWN)
    await sent(webhook, notes(1), drops, clock=clock)
    assert (len(webhook.calls), drops) == (3, [])


# ------------------------------------------------------------------- retention


@in_virtual_time
async def test_the_retention_is_read_again_after_a_clock_jump() -> None:
    asked: list[str] = []

    async def ask(topic: str) -> None:
        asked.append(topic)

    core, clock = await Core().open(), VirtualClock()
    watch = RetentionWatch([core.dispatcher], ask, notifier(Told()).tell, clock)
    await watch.look()
    clock.ahead = -86_400.0
    await watch.look()
    assert len(asked) == 1
    await asyncio.sleep(ASK_SECONDS)
    await watch.look()
    assert len(asked) == 2
    await core.end()


@in_virtual_time
async def test_a_retention_that_could_not_be_read_is_read_again() -> None:
    asked: list[str] = []

    async def ask(topic: str) -> None:
        asked.append(topic)
        if len(asked) == 1:
            raise BrokerError("no answer")

    core = await Core().open()
    watch = RetentionWatch([core.dispatcher], ask, notifier(Told()).tell, core.dispatcher.clock)
    with pytest.raises(BrokerError):
        await watch.look()
    await watch.look()
    assert len(asked) == 2
    await core.end()


@pytest.mark.parametrize(
    ("retention_ms", "seconds", "is_told"), [(100_000, 91, True), (100_000, 80, False), (None, 999, False)]
)
def test_events_about_to_be_deleted_are_notified_once(retention_ms: int | None, seconds: int, *, is_told: bool) -> None:
    @in_virtual_time
    async def look() -> None:
        told = Told()

        async def asked(_topic: str) -> int | None:
            return retention_ms

        core = await Core(subscription(), subscription("live")).open()
        now = core.dispatcher.clock.now()
        old = replace(core.produce(1)[0], timestamp=int(now * 1000))
        core.log.records[0] = old
        await core.dispatch([old])
        await core.revise(paused(subscription()))
        await core.answer(0, DOWN)
        await core.land()
        watch = RetentionWatch([core.dispatcher], asked, notifier(told).tell, core.dispatcher.clock)
        await asyncio.sleep(seconds)
        await watch.look()
        await watch.look()
        await core.end()

        assert told.kinds() == (["subscription.losing-events"] if is_told else [])
        if is_told:
            assert (told[0].subject, told[0].data["waitingAtMost"]) == ("s", 1)

    look()
