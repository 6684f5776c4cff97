"""The note of a commit: which offsets after the committed one are settled, as bits and as text. Pure.

A group commits one offset per partition. After a crash, all events from this offset on would be sent again. So each
commit notes which of these events are settled, in the metadata that Kafka stores with the offset:

    offset  40 41 42 43 44 45        40 is the committed one; 41, 43 and 44 are settled
    bits     0  1  0  1  1  0        an int whose bit n stands for offset 40 + n
    note    1:40:eAGTAgAAGwAb        version, committed offset, and the bits: deflated (with a checksum), in base64

Usually the deflated bits take less than a hundred bytes. If many lanes advance at about the same pace, only a few
hundred offsets are settled out of order. If one lane is slow, a long run of settled offsets follows its event. Such a
run deflates well.
"""

import base64
import zlib
from typing import Final

REACH: Final = 22_400
"""How many offsets a note covers, from the committed offset on.

Even if deflating saves nothing, such a note fits into the 4,096 bytes that a broker allows by default
(`offset.metadata.max.bytes`).
"""
VERSION: Final = "1"


def pack(offset: int, ahead: int) -> str:
    """The note of the bits *ahead* of the committed *offset*."""
    bits = ahead & ((1 << REACH) - 1)
    packed = zlib.compress(bits.to_bytes((bits.bit_length() + 7) // 8, "little"), level=1)
    return f"{VERSION}:{offset}:{base64.urlsafe_b64encode(packed).decode().rstrip('=')}"


def unpack(note: str, offset: int) -> int:
    """The bits of a note that was committed with *offset*.

    Raises:
        ValueError: the note belongs to another offset, has another version, or can't be read.
    """
    version, _, rest = note.partition(":")
    if version != VERSION:
        raise ValueError(f"its version is {version!r}, allowed: {VERSION!r}")
    base, _, text = rest.partition(":")
    if base != str(offset):
        raise ValueError(f"it belongs to the offset {base!r}")
    inflation = zlib.decompressobj()
    try:
        # The padding is restored, and the output is limited, because anyone may have written the note.
        bits = inflation.decompress(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True), REACH // 8)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not inflation.eof or inflation.unused_data:
        raise ValueError("it is cut off, too long or followed by something else")
    return int.from_bytes(bits, "little")
