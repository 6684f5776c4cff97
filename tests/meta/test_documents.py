"""Files, tests and sections that documents and code name exist. The changelog is excluded: it describes the past."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.core.lane_state import LaneState

ROOT = Path(__file__).parents[2]
FOLDERS = ("docs", "pipeline", "tests")
DOCUMENTS = sorted(
    {*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))}
    - {ROOT / "CHANGELOG.md"}
)
CODE = sorted(path for package in ("pipeline", "agents", "tests", "deploy") for path in (ROOT / package).rglob("*.py"))

HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)]+)\)")
FILE = re.compile(r"(?<![\w/.:~<-])((?:[\w.-]+/)+[\w.@-]+\.(?:py|md|yaml|json|toml|example|service))\b")
TEST = re.compile(r"`(test_\w+)`")
CITED = re.compile(r"docs/(\w+)\.md, ([A-Z][^:;.)\n]*)")
CELL_BORDER = re.compile(r"(?<!\\)\|")
# This pattern must not match its own text.
ELSEWHERE = re.compile(r"\b(architecture(,| (sections? )?\d)|(architecture|interface|house)[.]md)")
"""Design documents that are not in the repository."""


def anchor(heading: str) -> str:
    """The anchor of a heading in a link."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def broken_links(document: Path, text: str) -> Iterator[str]:
    """The relative links of a document whose targets do not exist."""
    for link in LINK.findall(text):
        place, _, part = link.partition("#")
        target = (document.parent / place).resolve() if place else document
        if "://" in link:
            continue
        if not target.exists():
            yield link
        elif part and target.suffix == ".md":
            words = text if target == document else target.read_text()
            if part not in map(anchor, HEADING.findall(words)):
                yield link


def prose(source: str) -> str:
    """The docstrings and the comments of a module."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    found = [ast.get_docstring(node) or "" for node in ast.walk(ast.parse(source)) if isinstance(node, documented)]
    return "\n".join([*found, *re.findall(r"#.*", source)])


def broken_tables(text: str) -> Iterator[str]:
    """The table rows with other numbers of cells than the head of their table, and lines that interrupt a table."""
    borders = 0  # of the head; 0 outside of a table
    for line in re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL).splitlines():
        found = len(CELL_BORDER.findall(line)) if line.lstrip().startswith("|") else 0
        if borders and line.strip() and found != borders:
            yield line
        borders = found


def missing_files(text: str) -> list[str]:
    """The files that a text names and that exist neither at the root nor in pipeline/."""
    return [
        name
        for name in FILE.findall(LINK.sub("", text))
        if not any((folder / name).exists() for folder in (ROOT, ROOT / "pipeline"))
    ]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_targets_of_links_exist(document: Path) -> None:
    assert list(broken_links(document, document.read_text())) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_and_tests_that_are_named_exist(document: Path) -> None:
    text = document.read_text()
    there = set(re.findall(r"def (test_\w+)\(", "".join(path.read_text() for path in CODE)))

    assert missing_files(text) == []
    assert set(TEST.findall(text)) - there == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_table_row_has_the_cells_of_its_head(document: Path) -> None:
    assert list(broken_tables(document.read_text())) == []


def test_joined_and_wrapped_table_rows_are_found() -> None:
    head = "| a | b |\n| --- | --- |\n"
    assert list(broken_tables(f"{head}| 1 | 2 | | 3 | 4 |\n")) == ["| 1 | 2 | | 3 | 4 |"]
    assert list(broken_tables(f"{head}| 1 | 2\nand more |\n")) == ["| 1 | 2", "and more |"]
    assert list(broken_tables(f"{head}| 1 | 2 \\| 3 |\n\ntext\n")) == []


def test_files_that_docstrings_and_comments_name_exist() -> None:
    missing = {path.relative_to(ROOT).as_posix(): missing_files(prose(path.read_text())) for path in CODE}

    assert {path: names for path, names in missing.items() if names} == {}


def test_code_cites_no_document_outside_of_the_repository() -> None:
    cited = {path.relative_to(ROOT).as_posix(): ELSEWHERE.findall(path.read_text()) for path in CODE}

    assert {path: found for path, found in cited.items() if found} == {}


def test_code_cites_sections_that_exist() -> None:
    cited = {citation for path in CODE for citation in CITED.findall(path.read_text())}
    headings = {(path.stem, heading) for path in DOCUMENTS for heading in HEADING.findall(path.read_text())}

    assert cited
    assert cited - headings == set()


def test_links_to_missing_targets_are_found() -> None:
    links = "[a](nowhere.md) [b](README.md#no-such-part) [c](README.md) [d](https://e.com/x.md) [e](#read-\nme)"

    assert list(broken_links(ROOT / "README.md", links)) == ["nowhere.md", "README.md#no-such-part", "#read-\nme"]
    assert missing_files(f"{links} core/nothing.py") == ["core/nothing.py"]
    assert missing_files("see `core/lane.py`, tests/conftest.py and https://example.com/a/b.py") == []


def test_the_documented_states_of_a_lane_are_those_of_the_code() -> None:
    row = re.compile(r"^\| `([A-Z]+)` \| (.+?) \| `(\w+)` \|", re.MULTILINE)
    feeds = {"the stream": "live", "the log, read again": "behind", "nowhere": "halted"}

    drawn = {name: (feeds[feed], status) for name, feed, status in row.findall((ROOT / "docs/concepts.md").read_text())}

    assert drawn == {state.name: (state.feed, state.status.value) for state in LaneState}


NAMED = re.compile(r"`([\w/]+\.py):([\w.]+)`")
"""A reference to a name in a module, such as "core/policy.py:decide"."""


def names_of(tree: ast.AST) -> set[str]:
    """The functions, classes, methods, properties and constants that a module defines."""
    found: set[str] = set()
    for each in ast.iter_child_nodes(tree):
        if isinstance(each, ast.ClassDef):
            found |= {each.name, *(f"{each.name}.{name}" for name in names_of(each))}
        elif isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(each.name)
        elif isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            found.add(each.target.id)
    return found


def unknown_names(text: str) -> list[str]:
    """The names of modules that a text mentions and that do not exist."""
    return [
        f"{path}:{name}"
        for path, name in NAMED.findall(text)
        if name not in names_of(ast.parse((ROOT / "pipeline" / path).read_text()))
    ]


def test_the_names_of_modules_in_the_design_exist() -> None:
    text = (ROOT / "docs/design.md").read_text()

    assert len(NAMED.findall(text)) > 40
    assert unknown_names(text) == []
    assert unknown_names("`core/policy.py:decide`, `core/lane.py:Lane.offer` and `core/lane.py:Lane.nothing`") == [
        "core/lane.py:Lane.nothing"
    ]
