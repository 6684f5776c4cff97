"""The names of the backups that commands make."""

import os
from pathlib import Path

import pytest

from pipeline.cli import backup
from pipeline.cli.backups import unused_path
from pipeline.core.errors import ConfigurationError


@pytest.mark.parametrize("name", ["/", ".", "..", "folder"])
def test_the_file_of_a_backup_is_not_a_directory(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here" / "folder").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ConfigurationError, match="can't be written: Is a directory"):
        backup._write(Path(name), ["line"])
    assert [*tmp_path.glob("**/*.part")] == []


def test_a_backup_with_a_name_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be written: File name too long"):
        backup._write(tmp_path / ("a" * 300), ["line"])


def test_a_backup_replaces_no_device(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(ConfigurationError, match="pipe: is not a regular file; allowed: a regular file, or - for"):
        backup._write(pipe, ["line"])
    assert pipe.is_fifo()
    backup._write(tmp_path / "new", ["line"])
    backup._write(tmp_path / "new", ["another line"])
    assert (tmp_path / "new").read_text() == "another line\n"


def test_backups_of_the_same_second_have_different_names(tmp_path: Path) -> None:
    for name in ("20260131T120000Z-resume.json", "20260131T120000Z-resume-2.json", "20260131T120000Z-resume-3.json"):
        path = unused_path(tmp_path, 1_769_860_800.5, "resume")
        assert path == tmp_path / name
        path.touch()
    assert unused_path(tmp_path, 1_769_860_800.5, "pause").name == "20260131T120000Z-pause.json"
