"""The note of the events that are settled beyond a committed offset is read unchanged, or refused."""

import base64
import zlib
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.ahead import REACH, pack, unpack

LARGEST_OFFSET = 2**63 - 1
BROKERS_BYTES = 4096
SAMPLE = pack(40, 0b11010)


@given(st.integers(0, LARGEST_OFFSET), st.integers(0, 2**300))
def test_a_note_is_read_as_it_was_written(offset: int, ahead: int) -> None:
    assert unpack(pack(offset, ahead), offset) == ahead


def test_offsets_that_do_not_fit_into_a_note_are_left_out() -> None:
    ahead = (1 << REACH + 9) - 1
    assert unpack(pack(7, ahead), 7) == (1 << REACH) - 1


def test_the_largest_note_fits_beside_an_offset_and_a_topic_id() -> None:
    largest = pack(LARGEST_OFFSET, Random(1).getrandbits(REACH))
    assert len(f"settled={largest};topic-id=") + 22 <= BROKERS_BYTES


def packed(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()


@pytest.mark.parametrize(
    ("note", "error"),
    [
        (SAMPLE.replace("1:", "2:", 1), "its version is '2', allowed: '1'"),
        ("", "its version is ''"),
        ("1", "it belongs to the offset ''"),
        (pack(41, 0b11010), "it belongs to the offset '41'"),
        (f"1:040:{SAMPLE[5:]}", "it belongs to the offset '040'"),
        (SAMPLE[:-1], "."),
        (SAMPLE[:-5], "."),
        (SAMPLE + "AAAA", "cut off, too long or followed by something else"),
        (SAMPLE.replace("T", "U"), "."),
        ("1:40:$$$$", "."),
        ("1:40:\u00e9", "."),
        (f"1:40:{packed(zlib.compress(bytes(REACH // 8 + 1)))}", "cut off, too long"),
        (f"1:40:{packed(zlib.compress(bytes(50_000_000)))}", "cut off, too long"),
    ],
)
def test_a_garbled_note_and_one_of_another_offset_are_refused(note: str, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        unpack(note, 40)
