"""The small disk of the fault runs is small, and can be filled."""

import errno
from pathlib import Path

import pytest

from tests.faults.disk import MEBIBYTES, full, may_mount, small_disk


@pytest.mark.skipif(not may_mount(), reason="needs the right to mount")
async def test_a_full_disk_refuses_writes_until_it_is_freed(tmp_path: Path) -> None:
    async with small_disk(tmp_path):
        (tmp_path / "before").write_bytes(bytes(5000))
        with full(tmp_path), pytest.raises(OSError, match="No space left") as refused:
            (tmp_path / "meanwhile").write_bytes(b"x")
        assert refused.value.errno == errno.ENOSPC
        (tmp_path / "after").write_bytes(bytes(MEBIBYTES // 2 << 20))
        assert (tmp_path / "before").read_bytes() == bytes(5000)
    assert not (tmp_path / "before").exists()
