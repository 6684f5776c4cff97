"""Hints in errors about unknown names."""

import pytest

from pipeline.config.schema import MOST_MISTAKES, StrictModel, read
from pipeline.config.validation_messages import nearest
from pipeline.core.errors import ConfigurationError

SETTINGS = (
    "WEBHOOKS_API",
    "WEBHOOKS_APP",
    "WEBHOOKS_DRAIN_SECONDS",
    "WEBHOOKS_HOLD_SECONDS",
    "WEBHOOKS_ALLOW_PRIVATE_NETWORKS",
)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("WEBHOOKS_DRAIN", "did you mean WEBHOOKS_DRAIN_SECONDS?"),
        ("webhooks_hold_second", "did you mean WEBHOOKS_HOLD_SECONDS?"),
        ("WEBHOOKS_APPP", "did you mean WEBHOOKS_APP?"),
        ("WEBHOOKS_A", "did you mean WEBHOOKS_APP?"),
        ("WEBHOOKS_ALOW", "did you mean WEBHOOKS_ALLOW_PRIVATE_NETWORKS?"),
        ("x", f"known here: {', '.join(SETTINGS)}"),
    ],
)
def test_the_suggested_name_is_the_most_similar_one(name: str, said: str) -> None:
    assert nearest(name, SETTINGS) == said


class Deep(StrictModel):
    """A part of a part."""

    user: str = ""
    common: str = ""
    secret: str = ""


class Part(StrictModel):
    """A model with parts. Parts in the list `items` have no fixed path."""

    left: Deep | None = None
    right: Deep | None = None
    alone: str = ""


class Item(StrictModel):
    """A part in a list."""

    listed: str = ""


class Whole(StrictModel):
    """The outermost model."""

    at_top: str = ""
    part: Part | None = None
    items: list[Item] | None = None


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"alone": "x"}, "d.alone: unknown field; it belongs to d.part"),
        ({"user": "x"}, "d.user: unknown field; it belongs to d.part.left or d.part.right"),
        ({"part": {"user": "x"}}, "d.part.user: unknown field; it belongs to d.part.left or d.part.right"),
        ({"part": {"atTop": "x"}}, "d.part.atTop: unknown field; it belongs to d"),
        ({"part": {"left": {"alone": "x"}}}, "d.part.left.alone: unknown field; it belongs to d.part"),
        ({"listed": "x"}, "d.listed: unknown field; known here: atTop, part, items"),
        ({"alon": "x"}, "d.alon: unknown field; known here: atTop, part, items"),
    ],
)
def test_an_error_says_where_a_misplaced_field_belongs(document: object, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(Whole, document, "d")
    assert list(caught.value.problems) == [said]


def test_an_error_says_if_a_field_belongs_to_the_top_level() -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(Whole, {"part": {"atTop": "x"}})
    assert list(caught.value.problems) == ["part.atTop: unknown field; it belongs to the top level"]


def test_an_object_without_known_fields_is_reported_as_such() -> None:
    assert nearest("x", ()) == "none is allowed here"


@pytest.mark.parametrize(
    ("mistakes", "sentences", "first"),
    [
        (MOST_MISTAKES, MOST_MISTAKES, "0: unknown field; none is allowed here"),
        (MOST_MISTAKES + 1, 1, f"body: has {MOST_MISTAKES + 1} mistakes; up to {MOST_MISTAKES} are named one by one"),
    ],
)
def test_the_number_of_reported_mistakes_is_limited(mistakes: int, sentences: int, first: str) -> None:
    """Each sentence takes a tenth of a millisecond, which blocks deliveries. A MiB can have half a million mistakes."""
    with pytest.raises(ConfigurationError) as caught:
        read(StrictModel, dict.fromkeys(map(str, range(mistakes))), "body" if sentences == 1 else "")
    assert (len(caught.value.problems), caught.value.problems[0]) == (sentences, first)
