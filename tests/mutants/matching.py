"""Faults in the index of subscriptions, and in the filters, which share one parsed event."""

from typing import Final

from tests.mutants.mutant import Mutant

FILE: Final = "pipeline/core/matching.py"
TESTS: Final = "tests/unit/core/test_matching.py::"
AGREES: Final = f"{TESTS}test_the_index_agrees_with_evaluating_every_filter"

MATCHING: Final = (
    Mutant(
        "a revision leaves the paths of the former filter in the index",
        FILE,
        was="            self._remove(key)\n            self._add(",
        becomes="            self._add(",
        tests=(AGREES, f"{TESTS}test_an_update_replaces_the_former_filter"),
    ),
    Mutant(
        "a revision with another filter counts as unchanged",
        FILE,
        was="(former.topics, former.wanted) != (topics, wanted)",
        becomes="former.topics != topics",
        tests=(AGREES, f"{TESTS}test_an_update_replaces_the_former_filter"),
    ),
    Mutant(
        "a revision with an equal filter is indexed again",
        FILE,
        was="if former is None or (former",
        becomes="if True or (former",
        tests=(f"{TESTS}test_a_revision_with_an_equal_filter_changes_nothing",),
    ),
    Mutant(
        "nodes without subscriptions are kept",
        FILE,
        was="            node.cut(step)\n",
        becomes="            pass\n",
        tests=(f"{TESTS}test_a_deletion_leaves_nothing_in_the_index",),
    ),
    Mutant(
        "a node is removed although other paths lead through it",
        FILE,
        was="(node.certain or node.asked or node.branches)",
        becomes="(node._keys or node._asked)",
        tests=(f"{TESTS}test_a_deletion_keeps_subscriptions_with_more_conditions",),
    ),
    Mutant(
        "the unindexed rest of a filter is not evaluated",
        FILE,
        was="wanted if len(steps) < len(path) else None",
        becomes="None",
        tests=(AGREES,),
    ),
    Mutant(
        "a filter is evaluated although its path covers it",
        FILE,
        was="wanted if len(steps) < len(path) else None",
        becomes="wanted",
        tests=(f"{TESTS}test_equal_results_are_the_same_tuple",),
    ),
    Mutant(
        "a subscription that is added later is not sorted",
        FILE,
        was="            self.asked.pop(key, None)\n            self._sorted = None\n",
        becomes="            self.asked.pop(key, None)\n",
        tests=(f"{TESTS}test_an_update_replaces_the_former_filter",),
    ),
    Mutant(
        "a subscription with several paths gets an event several times",
        FILE,
        was="return tuple(dict.fromkeys(sorted(key for keys in found for key in keys)))",
        becomes="return tuple(sorted(key for keys in found for key in keys))",
        tests=(f"{TESTS}test_a_subscription_with_several_paths_is_found_once",),
    ),
    Mutant(
        "only the first text of a list is indexed",
        FILE,
        was="(text,)),) for text in texts]",
        becomes="(text,)),) for text in texts[:1]]",
        tests=(AGREES, f"{TESTS}test_every_text_of_a_list_finds_the_subscription"),
    ),
    Mutant(
        "an `any` is indexed although one of its parts can't be",
        FILE,
        was="_cost(paths)[0] < _UNINDEXED",
        becomes="min(_rank(part) for path in paths for part in path) < _UNINDEXED",
        tests=(f"{TESTS}test_an_any_filter_is_indexed_only_if_all_its_parts_are",),
    ),
    Mutant(
        "the body is compared first",
        FILE,
        was="    return 2 * place + (part.dialect",
        becomes="    return -2 * place + (part.dialect",
        tests=(f"{TESTS}test_the_body_is_not_parsed_unless_a_candidate_needs_it",),
    ),
    Mutant(
        "every filter parses the body again",
        FILE,
        was="if self.asked[key].matches(parsed)]",
        becomes="if self.asked[key].matches(ParsedEvent(parsed.event))]",
        tests=(f"{TESTS}test_the_body_is_parsed_once_for_all_filters",),
    ),
    Mutant(
        "a few given subscriptions are looked up in the tree",
        FILE,
        was="if among is not None and len(among) <= FEW:",
        becomes="if among is not None and not among:",
        tests=(f"{TESTS}test_a_few_subscriptions_are_evaluated_without_the_tree",),
    ),
    Mutant(
        "all given subscriptions count as matching",
        FILE,
        was="    return entry.wanted is None or entry.wanted.matches(parsed)",
        becomes="    return True",
        tests=(AGREES,),
    ),
    Mutant(
        "the topics of a subscription are ignored",
        FILE,
        was="topics = subscription.topics if is_sound else None",
        becomes="topics = None",
        tests=(AGREES, f"{TESTS}test_a_subscription_may_be_limited_to_some_topics"),
    ),
    Mutant(
        "the filter of a broken subscription is evaluated",
        FILE,
        was="_expression(subscription.filter) if is_sound else None",
        becomes="_expression(subscription.filter)",
        tests=(AGREES, f"{TESTS}test_a_broken_subscription_matches_every_event"),
    ),
    Mutant(
        "a filter with too many alternatives is indexed completely",
        FILE,
        was="fits = len(paths) * len(alternatives) <= MOST_PATHS",
        becomes="fits = True",
        tests=(f"{TESTS}test_a_filter_with_many_alternatives_takes_bounded_memory",),
    ),
    Mutant(
        "only the last value of a repeated header is compared",
        "pipeline/core/filters.py",
        was="if len(headers) == len(self.event.headers):",
        becomes="if headers:",
        tests=("tests/unit/core/test_filters.py::test_a_filter_matches_as_documented",),
    ),
)
