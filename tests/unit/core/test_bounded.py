"""A dict of bounded size."""

from pipeline.core.bounded import Bounded


def test_a_new_key_replaces_the_oldest_one() -> None:
    known: Bounded[str, int] = Bounded(2)
    for number, key in enumerate("abac"):
        known[key] = number

    assert dict(known) == {"b": 1, "c": 3}


def test_setting_a_key_again_removes_no_other_key() -> None:
    known: Bounded[str, int] = Bounded(2)
    for number, key in enumerate("abba"):
        known[key] = number

    assert dict(known) == {"a": 3, "b": 2}


def test_a_key_that_is_removed_and_set_again_is_the_newest() -> None:
    known: Bounded[str, int] = Bounded(2)
    known["a"], known["b"] = 1, 2
    known.pop("a")
    known["a"], known["c"] = 3, 4

    assert dict(known) == {"a": 3, "c": 4}
