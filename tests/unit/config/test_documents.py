"""Documents in YAML and JSON."""

from pathlib import Path

import pytest

from pipeline.config.documents import parse_documents, read_document
from pipeline.core.errors import ConfigurationError


def test_times_in_yaml_are_read_as_text() -> None:
    assert parse_documents("at: 2026-01-01T00:00:00Z") == [{"at": "2026-01-01T00:00:00Z"}]


def test_a_file_may_hold_several_documents() -> None:
    assert parse_documents("id: a\n---\nid: b\n---\n") == [{"id": "a"}, {"id": "b"}]


def test_json_with_tabs_is_read() -> None:
    assert parse_documents('{\n\t"id": "a"\n}') == [{"id": "a"}]


@pytest.mark.parametrize("text", ["a: 1\na: 2", '{"a": 1,\n"a": 2}'])
def test_a_duplicate_key_is_refused_with_its_position(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^api.yaml: line 2, column 1: duplicate key 'a'$"):
        parse_documents(text, "api.yaml")


def test_a_mistake_in_json_is_reported_in_terms_of_json() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_documents('{\n  "id": "a",\n  "b" 1\n}', "sub.json")

    assert str(caught.value) == "sub.json: line 3, column 7: is not JSON: Expecting ':' delimiter"


def test_yaml_that_begins_like_json_is_read() -> None:
    assert parse_documents("{id: a}", "sub.yaml") == [{"id": "a"}]


def test_merge_keys_work() -> None:
    assert parse_documents("x: &x {a: 1}\ny: {<<: *x, b: 2}")[0] == {"x": {"a": 1}, "y": {"a": 1, "b": 2}}


@pytest.mark.parametrize("text", ["a: [", "a: !!python/object:os.system x", "\x00", "{" * 50_000])
def test_a_file_that_is_not_yaml_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^document: "):
        parse_documents(text)


def test_missing_files_and_files_with_two_documents_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"can't be read: No such file"):
        read_document(tmp_path / "none.yaml")
    file = tmp_path / "two.yaml"
    file.write_text("a: 1\n---\na: 2\n")
    with pytest.raises(ConfigurationError, match="contains 2 documents; exactly one is allowed"):
        read_document(file)
