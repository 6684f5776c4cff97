"""Computes how much work a key store or an encrypted key takes to open, without opening it. Pure.

PKCS#12 (RFC 7292), PKCS#8 (RFC 5958) and OpenSSH keys contain the number of hash rounds for their password. A file of a
thousand bytes can demand two billion rounds. The library that derives the keys holds the interpreter lock, so neither
the event loop nor heartbeats run during that time.

In ASN.1, the number of rounds follows the salt: in PBKDF2 and PBES1 (RFC 8018 appendix A), and in the PBE and the MAC
of PKCS#12. scrypt (RFC 7914 section 7) has three numbers after its salt. The search covers everything that OpenSSL
would read, in BER and DER. It stops at the unreadable data at which OpenSSL stops.
"""

import base64
import binascii
from collections.abc import Iterator
from typing import Final

from pipeline.core.errors import ConfigurationError

MOST_ROUNDS: Final = 1_000_000
"""The limit for all derivations of one store together: half a second.

Java uses 10,000 rounds for each, OpenSSL 2,048.
"""

_DEEPEST: Final = 40
"""The largest number of nested elements. OpenSSL reads 30 levels."""

_INTEGER: Final = 0x02
_OCTET_STRING: Final = 0x04
_OBJECT_IDENTIFIER: Final = 0x06
_SEQUENCE: Final = 0x30
_CONSTRUCTED: Final = 0x20
_LONG_TAG: Final = 0x1F
_MORE: Final = 0x80
_LONGEST_NUMBER: Final = 8
_SCRYPT: Final = bytes.fromhex("2b06010401da47040b")  # 1.3.6.1.4.1.11591.4.11

_PEM_BEGIN: Final = b"-----BEGIN "
_PEM_END: Final = b"-----END "
_OPENSSH: Final = b"openssh-key-v1\0"
_BCRYPT_ROUNDS: Final = 8192
"""One round of bcrypt counts as this many hash rounds, because it takes some milliseconds."""

_Element = tuple[int, bytes]
"""Tag and content of an element. Only the first byte of a tag is kept; in longer tags, its low bits are 0x1F."""


def check_cost(data: bytes, path: str) -> None:
    """Check that a store, or a key in DER, takes little work to open.

    Raises:
        ConfigurationError: opening takes too much work; *path* is the path of the field.
    """
    _check(_rounds(data), path)


def check_pem_cost(text: bytes, path: str) -> None:
    """Check that all private keys in a PEM text together take little work. Raises the error of `check_cost`."""
    _check(sum(_rounds_of_block(block) for block in _pem_blocks(text)), path)


def _check(rounds: int, path: str) -> None:
    if rounds > MOST_ROUNDS:
        raise ConfigurationError(f"{path}: asks for {rounds} rounds of key derivation; allowed: {MOST_ROUNDS} in all")


def _rounds(data: bytes) -> int:
    """The sum of all numbers of rounds in *data*. Every number after something that looks like a salt counts."""
    total = 0
    waiting = [(data, 0)]
    while waiting:
        content, depth = waiting.pop()
        former: _Element = (0, b"")
        for tag, inner in _elements(content):
            if tag == _INTEGER and former[0] & ~_CONSTRUCTED == _OCTET_STRING:
                total += _number_of_rounds(inner)
            if former == (_OBJECT_IDENTIFIER, _SCRYPT):
                total += _scrypt_cost(inner)
            former = (tag, inner)
            if depth < _DEEPEST and (held := _held(tag, inner, depth)):
                waiting.append((held, depth + 1))
    return total


def _held(tag: int, inner: bytes, depth: int) -> bytes:
    """The encoded elements in a constructed element, or in an octet string that contains a sequence."""
    if tag & ~_CONSTRUCTED == _OCTET_STRING:
        octets = _joined(inner, depth) if tag & _CONSTRUCTED else inner
        return octets if octets[:1] == bytes([_SEQUENCE]) else b""
    return inner if tag & _CONSTRUCTED else b""


def _joined(data: bytes, depth: int) -> bytes:
    """The octets of a segmented string (X.690 section 8.7.3)."""
    pieces = (
        _joined(inner, depth + 1) if tag & _CONSTRUCTED and depth < _DEEPEST else inner
        for tag, inner in _elements(data)
    )
    return b"".join(pieces)


def _number_of_rounds(content: bytes) -> int:
    """The value as an unsigned number, so negative numbers are large; 0 beyond 64 bits, which libraries reject."""
    digits = content.lstrip(b"\0")
    return int.from_bytes(digits) if len(digits) <= _LONGEST_NUMBER else 0


def _scrypt_cost(parameters: bytes) -> int:
    cost = 1
    for tag, content in [*_elements(parameters)][:4]:
        if tag == _INTEGER:
            cost *= int.from_bytes(content[-_LONGEST_NUMBER:])
    return cost


def _elements(data: bytes) -> Iterator[_Element]:
    """The readable elements of *data*."""
    position = 0
    while (found := _element(data, position)) is not None:
        tag, content, position = found
        yield tag, content


def _element(data: bytes, position: int) -> tuple[int, bytes, int] | None:
    """Tag, content, and the position of the next element."""
    head = _head(data, position)
    if head is None:
        return None
    tag, start, length = head
    if length is None:
        end = _indefinite_end(data, start)
        return tag, data[start : end - 2], end
    return (tag, data[start : start + length], start + length) if start + length <= len(data) else None


def _head(data: bytes, position: int) -> tuple[int, int, int | None] | None:
    """Tag, position of the content, and its length; None is the indefinite length."""
    if position + 2 > len(data):
        return None
    tag, position = data[position], position + 1
    if tag & _LONG_TAG == _LONG_TAG:
        while position < len(data) and data[position] & _MORE:
            position += 1
        position += 1
    if position >= len(data):
        return None
    length, position = data[position], position + 1
    if length == _MORE:
        return tag, position, None
    if length & _MORE:
        size = length & ~_MORE
        length, position = int.from_bytes(data[position : position + size]), position + size
    return tag, position, length


def _indefinite_end(data: bytes, position: int) -> int:
    """The position after the end-of-contents octets (X.690 section 8.1.5) of the content at *position*.

    If these octets are missing, the content ends where *data* ends.
    """
    open_ones = 1
    while (head := _head(data, position)) is not None:
        tag, start, length = head
        if length is None:
            open_ones, position = open_ones + 1, start
            continue
        position = start + length
        if tag == 0 and length == 0:
            open_ones -= 1
            if not open_ones:
                return position
    return len(data) + 2


def _pem_blocks(text: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The label and the bytes of every block (RFC 7468), without headers (RFC 1421)."""
    for part in text.split(_PEM_BEGIN)[1:]:
        label, _, rest = part.partition(b"-----")
        body = rest.partition(_PEM_END)[0]
        if b":" in body:
            body = body.replace(b"\r", b"").partition(b"\n\n")[2]
        encoded = b"".join(body.split()).rstrip(b"=")
        try:
            yield label, base64.b64decode(encoded + b"=" * (-len(encoded) % 4))
        except binascii.Error:
            continue


def _rounds_of_block(block: tuple[bytes, bytes]) -> int:
    label, data = block
    if b"PRIVATE KEY" not in label:
        return 0
    return _openssh_rounds(data) if data.startswith(_OPENSSH) else _rounds(data)


def _openssh_rounds(data: bytes) -> int:
    """The cost of the bcrypt of an OpenSSH key (PROTOCOL.key): cipher, kdf, options {salt, rounds}."""
    position = len(_OPENSSH)
    texts = []
    for _ in range(3):
        length = int.from_bytes(data[position : position + 4])
        texts.append(data[position + 4 : position + 4 + length])
        position += 4 + length
    return 0 if texts[1] == b"none" else _BCRYPT_ROUNDS * int.from_bytes(texts[2][-4:])
