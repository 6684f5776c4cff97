"""Tokens as rows, with a dictionary as the table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from pipeline.auth.access_token import AccessToken
from pipeline.auth.token_store import UNDATED_SECONDS, StoredTokens, decode, encode, partition_of, row_key
from pipeline.subscriptions.secrets import SecretBox

KEY = Fernet.generate_key().decode()
A, B = b"a" * 32, b"b" * 32
TOKEN = AccessToken("a-token", 1000.5, 4600.5)


@dataclass
class DictRows:
    rows: dict[bytes, bytes] = field(default_factory=dict)
    written: list[tuple[bytes, bytes | None]] = field(default_factory=list)

    def row(self, key: bytes) -> bytes | None:
        return self.rows.get(key)

    def row_keys(self) -> Sequence[bytes]:
        return list(self.rows)

    async def write(self, key: bytes, value: bytes | None) -> None:
        self.written.append((key, value))
        if value is None:
            del self.rows[key]
        else:
            self.rows[key] = value


@pytest.fixture
def rows() -> DictRows:
    return DictRows()


@pytest.fixture
def stored(rows: DictRows) -> StoredTokens:
    return StoredTokens(rows, SecretBox([KEY]))


@given(
    value=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1),
    obtained_at=st.floats(0, 1e11),
    expires_at=st.none() | st.floats(0, 1e11),
)
def test_a_token_is_decoded_as_it_was_encoded(value: str, obtained_at: float, expires_at: float | None) -> None:
    token = AccessToken(value, obtained_at, expires_at)
    assert decode(A, encode(A, token)) == token


def test_a_row_written_for_other_credentials_is_not_decoded() -> None:
    with pytest.raises(ValueError, match="the row was written for other credentials"):
        decode(B, encode(A, TOKEN))


@pytest.mark.parametrize("partition", [0, 1, 255, 256, 2**31 - 1])
def test_a_row_key_contains_its_partition(partition: int) -> None:
    key = row_key(partition, A)
    assert partition_of(key) == partition
    assert len(key) == 36


async def test_a_saved_token_is_loaded(stored: StoredTokens) -> None:
    await stored.save(3, A, TOKEN)
    assert stored.load(3, A) == TOKEN
    assert stored.load(3, B) is None
    assert stored.load(4, A) is None


async def test_a_row_does_not_show_the_token(stored: StoredTokens, rows: DictRows) -> None:
    await stored.save(3, A, TOKEN)
    assert b"a-token" not in b"".join(rows.rows.values())


async def test_a_row_encrypted_with_a_removed_key_is_overwritten(stored: StoredTokens, rows: DictRows) -> None:
    await StoredTokens(rows, SecretBox([Fernet.generate_key().decode()])).save(3, A, AccessToken("old", 1.0))
    assert stored.load(3, A) is None
    await stored.save(3, A, TOKEN)
    assert stored.load(3, A) == TOKEN


async def test_a_row_copied_to_another_partition_can_not_be_read(stored: StoredTokens, rows: DictRows) -> None:
    await stored.save(3, A, TOKEN)
    rows.rows[row_key(4, A)] = rows.rows[row_key(3, A)]
    assert stored.load(4, A) is None
    assert stored.load(3, A) == TOKEN


async def test_a_row_of_an_earlier_version_is_read(stored: StoredTokens, rows: DictRows) -> None:
    rows.rows[row_key(3, A)] = Fernet(KEY).encrypt(encode(A, TOKEN))
    assert stored.load(3, A) == TOKEN


async def test_a_row_that_was_copied_to_other_credentials_is_ignored(stored: StoredTokens, rows: DictRows) -> None:
    await stored.save(3, A, TOKEN)
    rows.rows[row_key(3, B)] = rows.rows[row_key(3, A)]
    assert stored.load(3, B) is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:-1],
        lambda _: b"",
        lambda _: b"[]",
        lambda _: b"{}",
        lambda data: data.replace(b"1000.5", b"[]"),
        lambda data: data.replace(b'"value"', b'"worth"'),
    ],
)
async def test_an_invalid_row_is_ignored(stored: StoredTokens, rows: DictRows, spoil: Callable[[bytes], bytes]) -> None:
    key = row_key(3, A)
    rows.rows[key] = stored.box.encrypt(spoil(encode(A, TOKEN)), b"token\0" + key)
    assert stored.load(3, A) is None


async def test_an_ignored_row_is_logged_without_its_content(
    stored: StoredTokens, rows: DictRows, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    rows.rows[row_key(3, A)] = b"unreadable"
    assert stored.load(3, A) is None
    assert caplog.messages == ["a token row of partition 3 can't be read: ConfigurationError"]


async def test_a_sweep_deletes_expired_rows_and_no_others(stored: StoredTokens, rows: DictRows) -> None:
    await stored.save(1, A, AccessToken("expired", 0.0, 5000.0))
    await stored.save(2, A, AccessToken("good", 0.0, 5000.1))
    await stored.save(3, A, AccessToken("undated", 0.0))
    rows.rows[row_key(4, A)] = b"of somebody with another key"
    assert await stored.sweep(5000.0) == 1
    assert [partition_of(key) for key in rows.rows] == [2, 3, 4]
    assert rows.written[-1] == (row_key(1, A), None)


async def test_a_sweep_deletes_rows_without_an_expiry_later(stored: StoredTokens, rows: DictRows) -> None:
    await stored.save(3, A, AccessToken("undated", 0.0))
    assert await stored.sweep(UNDATED_SECONDS - 1) == 0
    assert await stored.sweep(UNDATED_SECONDS) == 1
    assert rows.rows == {}
