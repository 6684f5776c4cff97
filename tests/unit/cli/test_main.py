"""The pipeline's commands and Faust's commands form one program."""

import sys
from pathlib import Path
from typing import cast

import faust
import pytest

from pipeline.cli.main import OWN, main, whole_group
from pipeline.kafka.topics import tokens_topic
from pipeline.runtime.token_table import add_token_table


def test_the_pipeline_s_commands_replace_those_of_faust() -> None:
    commands = whole_group().commands

    assert all(commands[name].callback.__module__.startswith("pipeline.cli") for name in OWN if commands[name].callback)


def test_ctrl_c_while_modules_are_loaded_is_no_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "interrupted_module.py").write_text("raise KeyboardInterrupt")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(cast("dict[str, str]", OWN), "top", "interrupted_module")
    monkeypatch.setattr(sys, "argv", ["webhooks", "top"])
    with pytest.raises(SystemExit, match="Aborted!"):
        main()


def test_the_topic_of_tokens_is_the_changelog_of_faust_s_table() -> None:
    table = add_token_table(faust.App("orders"))
    assert tokens_topic("orders") == table.changelog_topic.get_topic_name()
