"""Finds the private keys of a PKCS#12 store by their names (RFC 7292). Pure.

    PFX    version, safes, MAC
    safes  a safe with keys is plain data, in which each key is encrypted
    bag    type, key, attributes; the attribute "friendly name" is Java's alias

The library that opens PKCS#12 stores returns only the first key, but it can open any key that this module finds.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from pipeline.config.keystores.der import OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, SET, Element, elements


def _oid(last: str) -> bytes:
    return bytes.fromhex(f"2a864886f70d01{last}")  # 1.2.840.113549.1, the prefix of RSADSI


_DATA: Final = _oid("0701")
_KEY_BAGS: Final = frozenset({_oid("0c0a0101"), _oid("0c0a0102")})
_FRIENDLY_NAME: Final = _oid("0914")
_EXPLICIT: Final = 0xA0
_BMP_STRING: Final = 0x1E


@dataclass(frozen=True, slots=True)
class KeyBag:
    """A private key of a store.

    Attributes:
        alias: the friendly name; empty if there is none.
        key: PKCS#8 in DER, encrypted or not.
    """

    alias: str
    key: bytes = field(repr=False)


def key_bags(data: bytes) -> list[KeyBag]:
    """The private keys of a store whose MAC has been checked, in the order of the store.

    Keys in encrypted safes are not found. Java and OpenSSL never put keys into encrypted safes.

    Raises:
        ValueError: the store is not PKCS#12 in DER.
    """
    [store] = elements(data)
    return [
        key
        for safes in _plain(store.holding(SEQUENCE)[1:2])
        for bags in _plain(_listed(safes))
        for bag in _listed(bags)
        if (key := _key(bag)) is not None
    ]


def _listed(data: bytes) -> list[Element]:
    [sequence] = elements(data)
    return sequence.holding(SEQUENCE)


def _key(bag: Element) -> KeyBag | None:
    kind, value, *attributes = bag.holding(SEQUENCE)
    if kind.content not in _KEY_BAGS:
        return None
    [key] = value.holding(_EXPLICIT)
    return KeyBag(_alias(attributes), key.encoded)


def _plain(infos: Iterable[Element]) -> Iterator[bytes]:
    """The content of each ContentInfo that is plain data (RFC 5652 section 3)."""
    for info in infos:
        kind, *content = info.holding(SEQUENCE)
        if kind.tag == OBJECT_IDENTIFIER and kind.content == _DATA and content:
            [octets] = content[0].holding(_EXPLICIT)
            if octets.tag != OCTET_STRING:
                raise ValueError("data is not an octet string")
            yield octets.content


def _alias(attributes: Iterable[Element]) -> str:
    for each in attributes:
        for attribute in each.holding(SET):
            kind, values = attribute.holding(SEQUENCE)
            if kind.content == _FRIENDLY_NAME:
                [name] = values.holding(SET)
                return name.content.decode("utf-16-be", "replace") if name.tag == _BMP_STRING else ""
    return ""
