"""Makes key stores in DER whose keys need a given number of rounds to derive."""

import hashlib
import hmac
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

PASSWORD = "store-secret"
SALT = bytes.fromhex("0408") + b"saltsalt"


def element(tag: int, *parts: bytes) -> bytes:
    """An element in DER."""
    content = b"".join(parts)
    size = len(content)
    digits = size.to_bytes((size.bit_length() + 7) // 8)
    length = bytes([size]) if size < 0x80 else bytes([0x80 | len(digits)]) + digits
    return bytes([tag]) + length + content


def indefinite(tag: int, *parts: bytes) -> bytes:
    """An element of indefinite length in BER, as macOS and NSS write."""
    return bytes([tag, 0x80]) + b"".join(parts) + b"\0\0"


def number(value: int) -> bytes:
    """An INTEGER."""
    return element(2, value.to_bytes(value.bit_length() // 8 + 1))


def identifier(digits: str) -> bytes:
    """An OBJECT IDENTIFIER."""
    return element(6, bytes.fromhex(digits))


def algorithm(digits: str, *parameters: bytes) -> bytes:
    """AlgorithmIdentifier."""
    return element(0x30, identifier(digits), *parameters)


Wrap = Callable[..., bytes]


def store(rounds: int, wrap: Wrap = element) -> bytes:
    """A PKCS#12 store that contains only a MAC with this number of rounds."""
    data = wrap(0x30, identifier("2a864886f70d010701"), wrap(0xA0, element(4, element(0x30))))
    digest = element(0x30, algorithm("608648016503040201", b"\5\0"), element(4, bytes(32)))
    return wrap(0x30, number(3), data, wrap(0x30, digest, SALT, number(rounds)))


def encrypted_key(*scheme: bytes) -> bytes:
    """EncryptedPrivateKeyInfo (RFC 5958 section 3)."""
    return element(0x30, element(0x30, *scheme), element(4, bytes(64)))


def pbes2(derivation: bytes) -> bytes:
    """PBES2 (RFC 8018 appendix A.4)."""
    cipher = algorithm("60864801650304012a", element(4, bytes(16)))
    return encrypted_key(identifier("2a864886f70d01050d"), element(0x30, derivation, cipher))


def pbkdf2(rounds: int, *more: bytes) -> bytes:
    """PBKDF2 (RFC 8018 appendix A.2)."""
    return algorithm("2a864886f70d01050c", element(0x30, SALT, number(rounds), *more))


def scrypt(n: int, r: int, p: int) -> bytes:
    """scrypt (RFC 7914 section 7)."""
    return algorithm("2b06010401da47040b", element(0x30, SALT, number(n), number(r), number(p)))


def hidden(rounds: int) -> bytes:
    """A PKCS#12 store for PASSWORD. One of its parts is encrypted with one round, and contains a key with this number
    of rounds."""
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    cipher, sealed = _encrypted(key, rounds)
    bag = algorithm("2a864886f70d010c0a0102", element(0xA0, element(0x30, cipher, element(4, sealed))))
    cipher, sealed = _encrypted(element(0x30, bag), 1)
    content = element(0x30, identifier("2a864886f70d010701"), cipher, element(0x80, sealed))
    safes = element(0x30, algorithm("2a864886f70d010706", element(0xA0, element(0x30, number(0), content))))
    digest = element(0x30, algorithm("608648016503040201", b"\5\0"), element(4, _mac(safes)))
    data = algorithm("2a864886f70d010701", element(0xA0, element(4, safes)))
    return element(0x30, number(3), data, element(0x30, digest, SALT, number(1)))


def _encrypted(data: bytes, rounds: int) -> tuple[bytes, bytes]:
    """Algorithm and ciphertext (RFC 8018 section 6.2). The encryption always uses one round."""
    vector = bytes(16)
    secret = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), SALT[2:], 1, 32)
    padder, encryptor = PKCS7(128).padder(), Cipher(algorithms.AES(secret), modes.CBC(vector)).encryptor()
    sealed = encryptor.update(padder.update(data) + padder.finalize()) + encryptor.finalize()
    derivation = pbkdf2(rounds, algorithm("2a864886f70d0209", b"\5\0"))
    cipher = algorithm("60864801650304012a", element(4, vector))
    return algorithm("2a864886f70d01050d", element(0x30, derivation, cipher)), sealed


def _mac(data: bytes) -> bytes:
    """A MAC (RFC 7292 appendix B) with one round of SHA-256."""
    secret = PASSWORD.encode("utf-16-be") + b"\0\0"
    block = bytes([3]) * 64 + SALT[2:] * 8 + (secret * 64)[:64]
    return hmac.digest(hashlib.sha256(block).digest(), data, "sha256")
