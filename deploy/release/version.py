"""Reads the version of the tree, and checks that all files with a version agree.

python -m deploy.release.version             prints the version; exit code 1 if a file does not agree
python -m deploy.release.version --dry-run   the same, but the section in CHANGELOG.md may still be [Unreleased]
python -m deploy.release.version --section   prints the first section of CHANGELOG.md
"""

import re
import sys
import tomllib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
SEMVER: Final = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
"""A version according to https://semver.org/#semantic-versioning-specification-semver, without pre-releases."""
UNRELEASED: Final = "Unreleased"
"""The heading in CHANGELOG.md for changes since the last release."""
_HEADING: Final = re.compile(r"^## \[(?P<version>[^\]]+)\](?: - (?P<date>.*))?$", re.MULTILINE)
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")


def version_of(root: Path) -> str:
    """The version in pyproject.toml, which is the authoritative one."""
    return str(tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"])


def section_of(changelog: str, version: str) -> str:
    """The section of a version in the changelog, without the heading; empty if there is no section."""
    headings = list(_HEADING.finditer(changelog))
    for heading, following in zip(headings, [*headings[1:], None], strict=True):
        if heading["version"] == version:
            end = len(changelog) if following is None else following.start()
            return changelog[heading.end() : end].strip()
    return ""


def notes_of(root: Path) -> str:
    """The first section of CHANGELOG.md, without the heading; empty if there is none."""
    changelog = (root / "CHANGELOG.md").read_text()
    first = _HEADING.search(changelog)
    return "" if first is None else section_of(changelog, first["version"])


def problems_of(root: Path, *, dry_run: bool = False) -> list[str]:
    """Sentences about what prevents a release of the tree, or with *dry_run* a trial in which nothing is tagged."""
    version, changelog = version_of(root), (root / "CHANGELOG.md").read_text()
    problems = []
    if not SEMVER.fullmatch(version):
        problems.append(f"pyproject.toml: version {version} is not MAJOR.MINOR.PATCH")
    first = _HEADING.search(changelog)
    if dry_run and first is not None and first["version"] == UNRELEASED:
        if not notes_of(root):
            problems.append(f"CHANGELOG.md: the section [{UNRELEASED}] is empty")
    elif first is None or first["version"] != version:
        found = "nothing" if first is None else first["version"]
        problems.append(f"CHANGELOG.md: begins with [{found}]; it has to begin with [{version}]")
    elif _DATE.fullmatch(first["date"] or "") is None:
        problems.append(f"CHANGELOG.md: the heading of [{version}] has no date: ## [{version}] - YYYY-MM-DD")
    elif not section_of(changelog, version):
        problems.append(f"CHANGELOG.md: the section [{version}] is empty")
    chart = (root / "deploy/chart/Chart.yaml").read_text()
    if f'\nappVersion: "{version}"\n' not in chart:
        problems.append(f'deploy/chart/Chart.yaml: appVersion has to be "{version}"')
    wheel = f"webhook_pipeline-{version}-py3-none-any.whl"
    if wheel not in (root / "README.md").read_text():
        problems.append(f"README.md: the first command has to name {wheel}")
    return problems


def main() -> None:
    """Print the version or the section."""
    version = version_of(ROOT)
    if "--section" in sys.argv[1:]:
        print(notes_of(ROOT))
    elif problems := problems_of(ROOT, dry_run="--dry-run" in sys.argv[1:]):
        raise SystemExit("\n".join(problems))
    else:
        print(version)


if __name__ == "__main__":
    main()
