"""How commands print values from outside."""

import asyncio
import errno
import io
import json
import os
import sys

import click
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cli import subscriptions
from pipeline.cli.command_group import CommandGroup
from pipeline.cli.output import MANY, as_json, as_table, as_yaml, ask, progress, redraw, say
from pipeline.core.errors import ConfigurationError
from pipeline.subscriptions.edits import Change

HOSTILE = "sub\u202e-1\x1b[2J\U000e0041"


def is_shown(text: str) -> bool:
    return text.replace("\n", "").isprintable()


def test_json_and_yaml_output_is_readable_and_lossless() -> None:
    for value in ({"id": HOSTILE, "ü": ["日本"]}, {"id": "ü"}):
        assert is_shown(as_json(value))
        assert json.loads(as_json(value)) == value
        assert is_shown(as_yaml(value))
        assert yaml.safe_load(as_yaml(value)) == value
    assert as_yaml({"id": "ü"}) == "id: ü\n"
    assert as_json({"id": "ü"}) == '{\n  "id": "ü"\n}'


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_text_is_lost_in_json(text: str) -> None:
    assert json.loads(as_json(text)) == text
    assert is_shown(as_json(text))


def test_tables_and_lines_escape_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    say(as_table(["ID"], [[HOSTILE]]))
    say(f"{HOSTILE} updated, revision 3\nnext")
    say(HOSTILE, err=True)
    captured = capsys.readouterr()
    assert is_shown(captured.out + captured.err)
    assert captured.out.count("\n") == 4


def test_errors_of_commands_escape_control_characters() -> None:
    def fail() -> None:
        raise ConfigurationError([f"{HOSTILE} can't be used", "nor this"])

    group = CommandGroup("webhooks", {"fail": click.Command("fail", callback=fail)})
    result = CliRunner().invoke(group, ["fail"])
    assert result.exit_code == 1
    assert is_shown(result.stderr)
    assert result.stderr.splitlines()[0].endswith("can't be used")


@pytest.mark.parametrize(
    ("answers", "expected"), [("y\n", True), ("what?\nYES\n", True), ("\n", False), ("n\n", False)]
)
def test_a_question_writes_nothing_to_stdout(
    answers: str, expected: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(answers))
    assert ask("Delete?") is expected
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "Delete? [y/N]: " * len(answers.splitlines()))


def test_a_question_without_an_answer_aborts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with pytest.raises(click.Abort):
        ask("Delete?")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stderr", "total", "is_shown"),
    [(Terminal(), MANY, True), (Terminal(), MANY - 1, False), (io.StringIO(), MANY, False)],
)
def test_progress_is_shown_for_long_work_on_terminals(
    stderr: io.StringIO, total: int, is_shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stderr)
    with progress("checking", total) as step:
        for _ in range(total):
            step(1)
    assert ("checking" in stderr.getvalue(), "100%" in stderr.getvalue()) == (is_shown, is_shown)


def test_a_table_fits_its_cells_and_escapes_control_characters() -> None:
    assert as_table(["ID", "ERROR"], [["a", None], ["long", "\x1b[2J\n"]]) == (
        "ID    ERROR\na     -\nlong  \\x1b[2J\\n"
    )


class FullDisk(io.StringIO):
    """What a file on a full disk does when it is written."""

    def write(self, _text: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_redraw_that_can_t_be_written_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", FullDisk())
    with pytest.raises(ConfigurationError, match=r"^the output can't be written: No space left on device$"):
        redraw("text")


def test_reencryption_ends_if_its_output_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    encrypted: list[str] = []

    class Store:
        async def list(self) -> list[dict[str, str]]:
            return [{"id": "sub-1"}, {"id": "sub-2"}]

        async def reencrypt(self, subscription_id: str) -> Change:
            encrypted.append(subscription_id)
            return Change(subscription_id, 7, "updated")

    monkeypatch.setattr(subscriptions, "with_store", lambda work: asyncio.run(work(Store())))
    monkeypatch.setattr(sys, "stdout", FullDisk())
    callback = subscriptions.reencrypt.callback
    assert callback is not None
    with pytest.raises(ConfigurationError, match=r"^the output can't be written: No space left on device$"):
        callback()
    assert encrypted == ["sub-1"]
