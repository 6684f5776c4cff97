"""A dict of bounded size."""

from pipeline.core.bounded import Bounded


def test_the_oldest_key_is_forgotten_for_a_new_one() -> None:
    known: Bounded[str, int] = Bounded(2)
    for number, key in enumerate("abac"):
        known[key] = number

    assert dict(known) == {"b": 1, "c": 3}


def test_a_key_that_is_set_again_takes_no_room() -> None:
    known: Bounded[str, int] = Bounded(2)
    for number, key in enumerate("abba"):
        known[key] = number

    assert dict(known) == {"a": 3, "b": 2}


def test_a_key_that_is_taken_out_and_set_again_is_the_newest() -> None:
    known: Bounded[str, int] = Bounded(2)
    known["a"], known["b"] = 1, 2
    known.pop("a")
    known["a"], known["c"] = 3, 4

    assert dict(known) == {"a": 3, "c": 4}
