"""Parsing of DER, whose lengths are not trusted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.keystores.der import OCTET_STRING, SEQUENCE, elements


def encoded(tag: int, content: bytes) -> bytes:
    size = len(content)
    octets = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag]) + (bytes([size]) if size < 0x80 else bytes([0x80 | len(octets)]) + octets) + content


@given(st.lists(st.tuples(st.sampled_from([OCTET_STRING, SEQUENCE, 0xA0]), st.binary(max_size=300)), max_size=5))
def test_encoded_elements_are_read_back(parts: list[tuple[int, bytes]]) -> None:
    outer = encoded(SEQUENCE, b"".join(encoded(tag, content) for tag, content in parts))
    [sequence] = elements(outer)
    assert sequence.encoded == outer
    assert [(element.tag, element.content) for element in sequence.holding(SEQUENCE)] == parts


@pytest.mark.parametrize(
    "data",
    [b"\x30", b"\x30\x05abcd", b"\x30\x80\x00\x00", b"\x1f\x20\x00", b"\x30\xff" + b"\xff" * 200, b"\x04\x00\x30"],
    ids=["no length", "cut off", "indefinite", "a long tag", "a huge length", "half of a second one"],
)
def test_data_that_is_not_der_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"element|length"):
        elements(data)


def test_an_unexpected_element_is_refused() -> None:
    with pytest.raises(ValueError, match="another element"):
        elements(b"\x04\x00")[0].holding(SEQUENCE)


@given(st.binary(max_size=100))
def test_any_bytes_are_read_completely_or_refused(data: bytes) -> None:
    try:
        found = elements(data)
    except ValueError:
        return
    assert b"".join(element.encoded for element in found) == data
