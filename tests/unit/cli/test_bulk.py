"""What a command for many subscriptions prints: cli/bulk.py."""

import pytest

from pipeline.cli.bulk import _Done, _say_done, _warn_of_idle
from pipeline.cli.output import MANY
from pipeline.subscriptions.edits import Change


def changes(count: int, advisory: str | None = None) -> list[Change]:
    return [Change(f"sub-{number}", number, "updated", advisory) for number in range(count)]


@pytest.mark.parametrize(
    ("count", "last"),
    [
        (0, []),
        (MANY, [f"sub-{MANY - 1}: it is paused"]),
        (MANY + 2, [f"sub-{MANY - 1}: it is paused", "2 more subscriptions deliver nothing"]),
    ],
)
def test_warnings_about_many_subscriptions_are_cut(
    count: int, last: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    _warn_of_idle(changes(count, "it is paused"))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == min(count, MANY + 1)
    assert lines[-len(last) or len(lines) :] == last


@pytest.mark.parametrize(("count", "lines"), [(MANY, MANY + 1), (MANY + 1, 1)])
def test_changes_are_listed_unless_there_are_many(count: int, lines: int, capsys: pytest.CaptureFixture[str]) -> None:
    _say_done(_Done(changes(count)), count, 0)
    found = capsys.readouterr().out.splitlines()
    assert (len(found), found[-1]) == (lines, f"{count} changed, 0 unchanged")
