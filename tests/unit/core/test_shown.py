import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.shown import safe, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sub-1 ü 日本 😀", "sub-1 ü 日本 😀"),
        ("a\u202eb", r"a\u202eb"),
        ("\u2066\u2069\u200f\u061c\ufeff\u200b", r"\u2066\u2069\u200f\u061c\ufeff\u200b"),
        ("\U000e0041", r"\U000e0041"),
        ("\x1b[2J\r\n\x9b\x7f\0", r"\x1b[2J\r\n\x9b\x7f\x00"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("\ud800", r"\ud800"),
    ],
)
def test_control_and_format_characters_are_escaped(text: str, expected: str) -> None:
    assert safe(text) == expected


@given(st.text())
def test_every_text_becomes_printable(text: str) -> None:
    assert safe(text).isprintable()
    assert safe(text, keep="\n").replace("\n", "").isprintable()


def test_a_value_in_an_error_is_shortened_and_escaped() -> None:
    assert shown("a\u202e" + "b" * 100) == r'"a\u202e' + "b" * 57 + "…"
    assert shown("\x1b\u202e") == r'"\u001b\u202e"'
