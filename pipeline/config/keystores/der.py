"""Reads DER elements (X.690 section 8.1) with one-byte tags and definite lengths, which key stores use. Pure.

`cryptography.hazmat.asn1` rejects sets that are not sorted as DER requires; keytool writes such sets if an alias has
more than about ten characters.
"""

from dataclasses import dataclass, field
from typing import Final

OCTET_STRING: Final = 0x04
OBJECT_IDENTIFIER: Final = 0x06
SEQUENCE: Final = 0x30
SET: Final = 0x31

_LONG_TAG: Final = 0x1F
_LONG_LENGTH: Final = 0x80


@dataclass(frozen=True, slots=True)
class Element:
    """One DER element.

    Attributes:
        content: the bytes without tag and length.
        encoded: the bytes with tag and length.
    """

    tag: int
    content: bytes = field(repr=False)
    encoded: bytes = field(repr=False)

    def holding(self, tag: int) -> "list[Element]":
        """The elements in this element, which must have *tag*.

        Raises:
            ValueError: this element has another tag, or does not contain elements.
        """
        if self.tag != tag:
            raise ValueError("another element was expected")
        return elements(self.content)


def elements(data: bytes) -> list[Element]:
    """The elements in *data*, one after another.

    Raises:
        ValueError: *data* is not DER, or an element is cut off.
    """
    found: list[Element] = []
    position = 0
    while position < len(data):
        element = _element(data, position)
        found.append(element)
        position += len(element.encoded)
    return found


def _element(data: bytes, position: int) -> Element:
    if position + 2 > len(data) or data[position] & _LONG_TAG == _LONG_TAG:
        raise ValueError("unknown element")
    length, start = data[position + 1], position + 2
    if length == _LONG_LENGTH:
        raise ValueError("the length is indefinite, which DER does not allow")
    if length & _LONG_LENGTH:
        size = length & ~_LONG_LENGTH
        length, start = int.from_bytes(data[start : start + size]), start + size
    end = start + length
    if end > len(data):
        raise ValueError("the element is cut off")
    return Element(data[position], data[start:end], data[position:end])
