"""How to go on after an unknown name."""

import pytest

from pipeline.config.validation_messages import nearest

SETTINGS = ("WEBHOOKS_API", "WEBHOOKS_APP", "WEBHOOKS_DRAIN_SECONDS", "WEBHOOKS_HOLD_SECONDS")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("WEBHOOKS_DRAIN", "did you mean WEBHOOKS_DRAIN_SECONDS?"),
        ("webhooks_hold_second", "did you mean WEBHOOKS_HOLD_SECONDS?"),
        ("WEBHOOKS_APPP", "did you mean WEBHOOKS_APP?"),
        ("WEBHOOKS_A", "did you mean WEBHOOKS_APP?"),
        ("x", f"known here: {', '.join(SETTINGS)}"),
    ],
)
def test_the_nearest_name_begins_alike_or_looks_alike(name: str, said: str) -> None:
    assert nearest(name, SETTINGS) == said


def test_where_nothing_is_known_that_is_said() -> None:
    assert nearest("x", ()) == "nothing is known here"
