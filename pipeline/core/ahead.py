"""The offsets that are settled beyond a committed one, as bits and as text. Pure.

Kafka commits one offset per partition; what is settled beyond it would be sent again after a crash. So each commit
carries a note of it, in the metadata that Kafka keeps beside the offset:

    offset  40 41 42 43 44 45        40 is the committed one; 41, 43 and 44 are settled
    bits     0  1  0  1  1  0        an int whose bit n stands for offset 40 + n
    note    1:40:eAGTAgAAGwAb        version, committed offset, bits: deflated, which also checks them, in base64

Many lanes at about the same pace leave a ragged edge of a few hundred offsets, and one slow lane leaves a long run:
deflated, both take less than a hundred bytes.
"""

import base64
import zlib
from typing import Final

REACH: Final = 22_400
"""How many offsets a note tells of, from the committed one on: in base64, as they are, they fit into the 4,096 bytes
that a broker allows by default (`offset.metadata.max.bytes`). Those beyond are forgotten by a crash."""
VERSION: Final = "1"


def pack(offset: int, ahead: int) -> str:
    """The note of the bits *ahead* of the committed *offset*."""
    bits = ahead & ((1 << REACH) - 1)
    packed = zlib.compress(bits.to_bytes((bits.bit_length() + 7) // 8, "little"), level=1)
    return f"{VERSION}:{offset}:{base64.urlsafe_b64encode(packed).decode().rstrip('=')}"


def unpack(note: str, offset: int) -> int:
    """The bits of a note beside the committed *offset*.

    Raises:
        ValueError: it belongs to another offset, is of another version, or can't be read.
    """
    version, _, rest = note.partition(":")
    if version != VERSION:
        raise ValueError(f"its version is {version!r}, allowed: {VERSION!r}")
    base, _, text = rest.partition(":")
    if base != str(offset):
        raise ValueError(f"it belongs to the offset {base!r}")
    inflation = zlib.decompressobj()
    try:
        # Base64 without its padding; and no more than a note can hold, whoever wrote it.
        bits = inflation.decompress(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True), REACH // 8)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not inflation.eof or inflation.unused_data:
        raise ValueError("it is cut off, too long or followed by something else")
    return int.from_bytes(bits, "little")
