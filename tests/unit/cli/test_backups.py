"""The names of the backups that commands make."""

from pathlib import Path

from pipeline.cli.backups import unused_path


def test_backups_of_the_same_second_have_different_names(tmp_path: Path) -> None:
    for name in ("20260131T120000Z-resume.json", "20260131T120000Z-resume-2.json", "20260131T120000Z-resume-3.json"):
        path = unused_path(tmp_path, 1_769_860_800.5, "resume")
        assert path == tmp_path / name
        path.touch()
    assert unused_path(tmp_path, 1_769_860_800.5, "pause").name == "20260131T120000Z-pause.json"
