"""Faults in what operators are told: reports, counts, warnings, refusals."""

from typing import Final

from tests.mutants.mutant import Mutant

BULK: Final = "tests/unit/cli/test_bulk.py::"
RECORDER: Final = "tests/unit/cluster/test_recorder_in_core.py::"

REPORTS: Final = (
    Mutant(
        "a worker forgets the ids of former topics",
        "pipeline/app.py",
        was="by_topic(former_topics or {})",
        becomes="by_topic({})",
        tests=("tests/unit/test_app.py::test_a_worker_knows_the_ids_of_former_topics",),
    ),
    Mutant(
        "the event after a failed claim is reported as given up",
        "pipeline/core/lane.py",
        was='self.report_dropped("given-up", flight.offset)',
        becomes='self.report_dropped("given-up", flight.offset + 1)',
        tests=(f"{RECORDER}test_a_claimed_event_that_is_given_up_is_recorded",),
    ),
    Mutant(
        "the event after a cancelled attempt is reported as given up",
        "pipeline/core/partition.py",
        was='lane.report_dropped("given-up", flight.offset)',
        becomes='lane.report_dropped("given-up", flight.offset + 1)',
        tests=(f"{RECORDER}test_claims_given_up_at_a_stop_are_recorded",),
    ),
    Mutant(
        "the event before a handed-back claim is reported as given up",
        "pipeline/core/partition.py",
        was='lane.report_dropped("given-up", offset)',
        becomes='lane.report_dropped("given-up", offset - 1)',
        tests=(f"{RECORDER}test_claims_given_up_at_a_stop_are_recorded",),
    ),
    Mutant(
        "a paused subscription shows a time for its next attempt",
        "pipeline/cluster/joining.py",
        was="next_try_at = (row.not_before or None) if row.status is Status.STARTED else None",
        becomes="next_try_at = row.not_before or None",
        tests=("tests/unit/cluster/test_joining.py::test_a_halted_lane_has_no_time_for_its_next_attempt",),
    ),
    Mutant(
        "a bulk command prints any number of warnings",
        "pipeline/cli/bulk.py",
        was="in idle[:MANY]",
        becomes="in idle",
        tests=(f"{BULK}test_warnings_about_many_subscriptions_are_cut",),
    ),
    Mutant(
        "a filter with a URL instead of a host finds nothing and is not refused",
        "pipeline/cluster/search.py",
        was='if "/" in host else None',
        becomes="if not host else None",
        tests=(
            "tests/unit/web/pages/test_site.py::test_an_invalid_filter_is_named",
            "tests/broker/test_api.py::test_bad_requests_are_refused_with_an_explanation",
            "tests/broker/test_cli_bulk.py::test_contradictory_options_are_refused",
        ),
    ),
    Mutant(
        "a subscription that can't be used seems to deliver",
        "pipeline/subscriptions/advisories.py",
        was="if subscription.problem is not None:",
        becomes="if False:",
        tests=("tests/unit/subscriptions/test_advisories.py::test_what_ends_the_idleness_of_a_subscription_is_said",),
    ),
    Mutant(
        "help on a full disk prints a traceback",
        "pipeline/cli/main.py",
        was="if innermost.f_code is not click.echo.__code__:",
        becomes="if True:",
        tests=("tests/process/test_commands.py::test_output_on_a_full_disk_is_reported_in_a_sentence",),
    ),
    Mutant(
        "a command on a full disk exits with the code of the interpreter",
        "pipeline/cli/main.py",
        was="        if end.code:\n",
        becomes="        if False:\n",
        tests=("tests/process/test_commands.py::test_output_on_a_full_disk_is_reported_in_a_sentence",),
    ),
    Mutant(
        "a second is shown as 1000 ms",
        "pipeline/web/pages/formats.py",
        was="count >= _SECOND * 1000",
        becomes="count > _SECOND * 1000",
        tests=("tests/unit/web/pages/test_formats.py::test_whole_milliseconds_show_no_decimals_they_do_not_have",),
    ),
    Mutant(
        "an empty range makes a count read the whole log",
        "pipeline/kafka/event_count.py",
        was=" if offsets[0] < offsets[1]}",
        becomes="}",
        tests=("tests/broker/test_event_count.py::test_an_empty_range_reads_no_further_events",),
    ),
)
