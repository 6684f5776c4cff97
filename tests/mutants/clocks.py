"""Durations that depend on the system clock, which may be set while a worker runs."""

from typing import Final

from tests.mutants.mutant import Mutant

FOLLOWING: Final = "tests/broker/test_following.py::"
NOTIFICATIONS: Final = "tests/unit/cluster/test_notifications.py::"

CLOCKS: Final = (
    Mutant(
        "old keys are kept after the clock was set back",
        "pipeline/web/key_ring.py",
        was="self._monotonic() - self._read_at >= PAUSE_SECONDS",
        becomes="time.time() - self._read_at >= PAUSE_SECONDS",
        tests=("tests/unit/web/test_admin_tokens.py::test_the_age_of_keys_ignores_the_system_clock",),
    ),
    Mutant(
        "a tail does not notice a silent broker after the clock was set back",
        "pipeline/kafka/tail.py",
        was="        probed_at = steady_now()\n        while",
        becomes="        steady_now = self._clock.now\n        probed_at = steady_now()\n        while",
        tests=(f"{FOLLOWING}test_a_tail_notices_a_silent_broker_after_a_clock_jump",),
    ),
    Mutant(
        "a follower reports a silent broker because the clock was set forward",
        "pipeline/kafka/follower.py",
        was="steady_now() - self._last_answer > SILENT_SECONDS",
        becomes="self._clock.now() - self.answered_at > SILENT_SECONDS",
        tests=(f"{FOLLOWING}test_a_clock_jump_does_not_make_a_broker_seem_silent",),
    ),
    Mutant(
        "a notification is given up because the clock was set forward",
        "pipeline/cluster/notification_outlets.py",
        was="        began, attempt = steady_now(), 1",
        becomes="        steady_now = self._clock.now\n        began, attempt = steady_now(), 1",
        tests=(f"{NOTIFICATIONS}test_a_notification_s_time_limit_ignores_clock_jumps",),
    ),
    Mutant(
        "a changed retention is not noticed after the clock was set back",
        "pipeline/cluster/retention_watch.py",
        was="        if self._asked_at is None",
        becomes="        steady_now = self._clock.now\n        if self._asked_at is None",
        tests=(f"{NOTIFICATIONS}test_the_retention_is_read_again_after_a_clock_jump",),
    ),
    Mutant(
        "a rate is computed with the system clock",
        "pipeline/cluster/own_state.py",
        was="now, attempts = steady_now(), self._telemetry.attempts",
        becomes="now, attempts = self._clock.now(), self._telemetry.attempts",
        tests=("tests/unit/cluster/test_own_state.py::test_the_announced_rate_ignores_jumps_of_the_system_clock",),
    ),
    Mutant(
        "a worker that is gone seems present after the clock was set back",
        "pipeline/cluster/workers_seen.py",
        was="if at > now}",
        becomes="if False}",
        tests=("tests/unit/cluster/test_workers_seen.py::test_no_gone_worker_returns_when_the_clock_is_set_back",),
    ),
)
