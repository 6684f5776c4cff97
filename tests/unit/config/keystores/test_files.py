"""A subscription may name files in one directory only. Errors reveal nothing about other files."""

from pathlib import Path

import pytest

from pipeline.config.keystores.files import MAX_BYTES, read_key_file
from pipeline.core.errors import ConfigurationError

F = "ssl.trustStore.path"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inside = tmp_path / "stores"
    (inside / "deep").mkdir(parents=True)
    (inside / "a.pem").write_bytes(b"inside")
    (inside / "deep" / "b.pem").write_bytes(b"deep inside")
    (tmp_path / "secret").write_bytes(b"outside")
    (inside / "link").symlink_to(tmp_path / "secret")
    (inside / "fine").symlink_to(inside / "a.pem")
    return inside


def refused(folder: Path | None, path: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read_key_file(folder, path, F)
    text = str(caught.value)
    assert text.startswith(f"{F}: ")
    assert "outside" not in text
    return text


def test_key_files_are_read_by_a_relative_or_an_absolute_path(folder: Path) -> None:
    assert read_key_file(folder, "a.pem", F) == b"inside"
    assert read_key_file(folder, str(folder / "a.pem"), F) == b"inside"
    assert read_key_file(folder, "deep/../deep/b.pem", F) == b"deep inside"
    assert read_key_file(folder, "fine", F) == b"inside"


@pytest.mark.parametrize(
    "path", ["../secret", "/etc/passwd", "link", "deep/../../secret", "/", "..", "/etc/nothing-there"]
)
def test_nothing_outside_the_folder_is_read_or_revealed(folder: Path, path: str) -> None:
    assert refused(folder, path).endswith("is not in WEBHOOKS_KEY_STORE_DIR")


def test_without_a_folder_no_file_is_read(folder: Path) -> None:
    assert "but WEBHOOKS_KEY_STORE_DIR is not set, so no file may be read" in refused(None, str(folder / "a.pem"))


def test_a_large_or_missing_file_is_refused(folder: Path) -> None:
    (folder / "big").write_bytes(bytes(MAX_BYTES + 1))
    assert "is not a file of at most" in refused(folder, "big")
    assert "is not a file of at most" in refused(folder, "deep")
    assert "No such file" in refused(folder, "nothing-there")
    assert "is not a valid path" in refused(folder, "nul\0byte")


def test_a_path_through_a_link_reveals_nothing_about_its_target(folder: Path) -> None:
    (folder.parent / "door").symlink_to(folder.parent)
    assert refused(folder, str(folder.parent / "door" / "stores" / "a.pem")).endswith(
        "is not in WEBHOOKS_KEY_STORE_DIR"
    )
    assert refused(folder, "../door/stores/a.pem").endswith("is not in WEBHOOKS_KEY_STORE_DIR")


def test_a_folder_that_is_a_link_is_known_by_either_name(folder: Path) -> None:
    (folder.parent / "link").symlink_to(folder)
    linked = folder.parent / "link"
    for path in ("a.pem", str(linked / "a.pem"), str(folder / "a.pem")):
        assert read_key_file(linked, path, F) == b"inside"


def test_a_loop_of_links_is_refused(folder: Path) -> None:
    (folder / "ring").symlink_to("again")
    (folder / "again").symlink_to("ring")
    assert "can't be read" in refused(folder, "ring")


def test_a_missing_folder_is_reported(folder: Path) -> None:
    assert "No such file" in refused(folder / "gone", "a.pem")
