"""`make release` refuses versions that do not agree, and lists every package of the lock file."""

import os
import re
import shutil
import subprocess
import sys
from email.message import Message
from pathlib import Path

import pytest

from deploy.release.components import component, document, licences, locked
from deploy.release.version import UNRELEASED, notes_of, problems_of, section_of, version_of

ROOT = Path(__file__).parents[2]
CHANGELOG = "# Changelog\n\n## [1.2.3] - 2026-11-27\n\n### Delivery\n\n- New.\n\n## [1.2.2] - 2026-01-31\n\n- Older.\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree that has version 1.2.3 everywhere."""
    (tmp_path / "deploy/chart").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    (tmp_path / "README.md").write_text("$ pipx run ./webhook_pipeline-1.2.3-py3-none-any.whl\n")
    (tmp_path / "deploy/chart/Chart.yaml").write_text('name: x\nversion: 9.9.9\nappVersion: "1.2.3"\n')
    return tmp_path


def test_a_consistent_tree_can_be_released(tree: Path) -> None:
    assert problems_of(tree) == []


@pytest.mark.parametrize(
    ("file", "text", "problem"),
    [
        ("pyproject.toml", '[project]\nversion = "1.2"\n', "version 1.2 is not MAJOR.MINOR.PATCH"),
        ("CHANGELOG.md", "# Changelog\n", "begins with [nothing]; it has to begin with [1.2.3]"),
        ("CHANGELOG.md", CHANGELOG.replace("1.2.3", "Unreleased"), "begins with [Unreleased]"),
        ("CHANGELOG.md", CHANGELOG.replace(" - 2026-11-27", ""), "the heading of [1.2.3] has no date"),
        ("CHANGELOG.md", "## [1.2.3] - 2026-11-27\n\n## [1.2.2] - 2026-01-31\n", "the section [1.2.3] is empty"),
        ("README.md", "webhook_pipeline-1.2.2-py3-none-any.whl", "has to name webhook_pipeline-1.2.3-py3-none-any.whl"),
        ("deploy/chart/Chart.yaml", 'version: 1.2.3\nappVersion: "1.2.2"\n', 'appVersion has to be "1.2.3"'),
    ],
)
def test_an_inconsistent_version_is_named(tree: Path, file: str, text: str, problem: str) -> None:
    (tree / file).write_text(text)
    assert any(each.startswith(f"{file}: ") and problem in each for each in problems_of(tree)), problems_of(tree)


def test_a_dry_run_takes_the_section_of_the_next_release(tree: Path) -> None:
    (tree / "CHANGELOG.md").write_text(CHANGELOG.replace("## ", f"## [{UNRELEASED}]\n\n- Newest.\n\n## ", 1))

    assert problems_of(tree, dry_run=True) == []
    assert problems_of(tree) != []
    assert notes_of(tree) == "- Newest."
    (tree / "CHANGELOG.md").write_text(CHANGELOG.replace("## ", f"## [{UNRELEASED}]\n\n## ", 1))
    assert problems_of(tree, dry_run=True) == ["CHANGELOG.md: the section [Unreleased] is empty"]


def test_the_section_of_a_version_ends_before_the_next() -> None:
    assert section_of(CHANGELOG, "1.2.3") == "### Delivery\n\n- New."
    assert section_of(CHANGELOG, "1.2.2") == "- Older."
    assert section_of(CHANGELOG, "1.2.1") == ""


def test_all_packages_of_the_lock_file_are_listed() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    found = document(lock, version_of(ROOT))
    names = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", lock, re.MULTILINE))
    assert {each["name"]: each["version"] for each in found["components"]} == names
    assert all(each["licenses"] for each in found["components"])
    hashes = [each["content"] for one in found["components"] for each in one["hashes"]]
    assert len(hashes) == lock.count("--hash=sha256:")
    assert document(lock, version_of(ROOT)) == found, "the same lock has the same list"


def test_an_incomplete_package_stops_the_release() -> None:
    with pytest.raises(ValueError, match="the lock has no hash of it"):
        component(next(locked("click==8.3.3\n")))
    [unknown] = locked(f"no-such-package==1.0 \\\n    --hash=sha256:{'0' * 64}\n")
    with pytest.raises(ValueError, match="is locked but not installed here"):
        component(unknown)
    [other] = locked(f"click==0.0.1 \\\n    --hash=sha256:{'0' * 64}\n    # via webhook-pipeline\n")
    with pytest.raises(ValueError, match=r"click: 0\.0\.1 is locked, .* is installed"):
        component(other)


def test_a_licence_is_an_expression_or_a_short_name() -> None:
    def said(**fields: str) -> object:
        message = Message()
        for name, text in fields.items():
            message[name.replace("_", "-")] = text
        return licences("x", message)

    assert said(License_Expression="MIT") == [{"expression": "MIT"}]
    assert said(License="Apache 2") == [{"license": {"name": "Apache 2"}}]
    assert said(License="Copyright\nall of it", Classifier="License :: OSI Approved :: BSD License") == [
        {"license": {"name": "BSD License"}}
    ]
    with pytest.raises(ValueError, match="names no licence"):
        said()


@pytest.mark.parametrize("what", ["changes that are not committed", "exists already"])
def test_a_tag_needs_a_clean_tree_and_a_new_version(tree: Path, what: str) -> None:
    shutil.copytree(ROOT / ".ci", tree / ".ci")
    shutil.copytree(ROOT / "deploy/release", tree / "deploy/release", ignore=shutil.ignore_patterns("__pycache__"))
    (tree / ".gitignore").write_text("__pycache__/\n")
    git = ("git", "-C", str(tree), "-c", "user.name=a", "-c", "user.email=a@example.com")
    for command in ("init", "add .", "commit -m begin", "tag v1.2.3"):
        subprocess.run([*git, *command.split()], check=True, capture_output=True)
    if what == "changes that are not committed":
        (tree / "new").touch()
    ended = subprocess.run(
        [str(tree / ".ci/release")],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHON": sys.executable, "DRY_RUN": ""},
    )
    assert ended.returncode == 1
    assert what in ended.stderr
    assert not (tree / "dist").exists()
