"""Texts that no file of the repository may contain, and names that no module may have."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MADE_BY_TOOLS = {".git", ".venv", ".hypothesis", "__pycache__", "build", "dist"}

NAMES_THAT_SAY_NOTHING = {"util", "utils", "helper", "helpers", "manager", "base", "common", "misc"}

MOST_LINES = 400

# These patterns must not match their own text.
FORBIDDEN = {
    "a registry": r"\b(pypi|pythonhosted|npmjs|crates|rubygems|docker|ghcr|quay|gcr|maven)[.](org|com|io)\b",
    "a path of somebody's machine": r"(?<![\w.~])/(home|Users|root|work|opt/wheels)/\w",
    "a secret key": r"BEGIN (\w+ )?PRIVATE KEY-----\s*\w{16}",
}


def is_made_by_tools(part: str) -> bool:
    return part in MADE_BY_TOOLS or part.endswith(("_cache", ".egg-info"))


FILES = sorted(
    path.relative_to(ROOT)
    for entry in ROOT.iterdir()
    if not is_made_by_tools(entry.name)
    for path in ([entry] if entry.is_file() else entry.rglob("*"))
    if path.is_file() and not any(map(is_made_by_tools, path.parts))
)


def test_no_module_has_a_meaningless_name() -> None:
    assert [str(path) for path in FILES if {path.stem, *path.parts} & NAMES_THAT_SAY_NOTHING] == []


def test_no_module_of_the_program_is_too_long() -> None:
    modules = [path for path in FILES if path.suffix == ".py" and path.parts[0] in {"pipeline", "agents"}]

    lengths = {str(path): len((ROOT / path).read_text().splitlines()) for path in modules}
    assert {path: length for path, length in lengths.items() if length > MOST_LINES} == {}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_contains_forbidden_text(what: str) -> None:
    pattern = re.compile(FORBIDDEN[what])

    assert [str(path) for path in FILES if pattern.search((ROOT / path).read_text(errors="replace"))] == []


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("a registry", "pip install --index-url https://{}.org/simple".format("pypi")),
        ("a path of somebody's machine", "in /{}/somebody/project".format("home")),
        ("a secret key", "-----BEGIN {}-----\nMIIEvQIBADANBgkqhkiG9w0".format("PRIVATE KEY")),
    ],
)
def test_each_forbidden_text_is_found(what: str, text: str) -> None:
    assert re.search(FORBIDDEN[what], text)
