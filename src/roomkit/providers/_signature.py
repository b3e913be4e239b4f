"""Checking who sent a webhook: the arithmetic all vendors share.

Digests are compared as bytes and in constant time; whatever is malformed is simply not a
match. Nothing here raises for what a stranger sent.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import time
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

if TYPE_CHECKING:
    from collections.abc import Iterable

FRESHNESS_SECONDS = 300.0
"""How old, or how far ahead, a signed request may be at the endpoints we host."""

_UNIX_SECONDS = re.compile(r"[0-9]{1,12}", re.ASCII)


def same(expected: str | bytes, given: str | bytes) -> bool:
    """Tell whether two digests or tokens are equal, in constant time; never raises."""
    return hmac.compare_digest(_bytes(expected), _bytes(given))


def matches_any(expected: Iterable[str | bytes], given: str | bytes) -> bool:
    """Tell whether ``given`` equals one of several, always looking at all of them."""
    found = False
    for candidate in expected:
        found |= same(candidate, given)
    return found


def hmac_hex(secret: str | bytes, payload: bytes, algorithm: str = "sha256") -> str:
    """Return the lower-case hex HMAC of ``payload``; ``algorithm`` as hashlib names it."""
    return hmac.new(_bytes(secret), payload, algorithm).hexdigest()


def hmac_base64(secret: str | bytes, payload: bytes, algorithm: str = "sha256") -> str:
    """Return the base64 HMAC of ``payload``; ``algorithm`` as hashlib names it."""
    return base64.b64encode(hmac.new(_bytes(secret), payload, algorithm).digest()).decode()


def sha256_hex(payload: bytes) -> str:
    """Return the lower-case hex SHA-256 of ``payload``."""
    return hashlib.sha256(payload).hexdigest()


def from_base64(text: str, length: int | None = None) -> bytes | None:
    """Return what a base64 text says; None when it is none, or not ``length`` bytes long.

    Each value is written in one way only: stray bits in the last letter are no base64 (RFC 4648,
    3.5).
    """
    try:
        raw = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError, ValueError):
        return None
    if base64.b64encode(raw).decode() != text:
        return None
    return raw if length is None or len(raw) == length else None


def secrets_of(
    current: SecretStr | str | None, previous: Iterable[SecretStr | str] = ()
) -> list[str]:
    """Return every secret a signature may be made with, the current one first.

    Args:
        current: The secret in use; None or an empty one is left out.
        previous: Secrets that still count while they are being rotated out.
    """
    plain = (
        value.get_secret_value() if isinstance(value, SecretStr) else value
        for value in (current, *previous)
        if value is not None
    )
    return [value for value in plain if value]


def fresh(
    timestamp: str | int | None, tolerance: float | None, *, now: float | None = None
) -> bool:
    """Tell whether a request signed at ``timestamp`` is neither stale nor from the future.

    Args:
        timestamp: Unix seconds, digits only.
        tolerance: Seconds it may be off either way; None accepts any readable one.
        now: Unix seconds; the system's clock by default.
    """
    text = str(timestamp) if timestamp is not None else ""
    if _UNIX_SECONDS.fullmatch(text) is None:
        return False
    if tolerance is None:
        return True
    return abs((time.time() if now is None else now) - int(text)) <= tolerance


def ed25519_valid(public_key: str, signature: str, message: bytes) -> bool | None:
    """Tell whether an Ed25519 signature (RFC 8032) is good.

    Args:
        public_key: The 32 bytes as base64.
        signature: The 64 bytes as base64.
        message: What was signed.

    Returns:
        None when neither PyNaCl nor cryptography is installed.
    """
    key, seal = from_base64(public_key, 32), from_base64(signature, 64)
    verifier = _ed25519()
    if verifier is None:
        return None
    return key is not None and seal is not None and bool(verifier(key, seal, message))


def _ed25519() -> Any:
    """Return ``(key, signature, message) -> bool`` of a library that is installed, or None."""
    try:
        from nacl.exceptions import CryptoError
        from nacl.signing import VerifyKey
    except ImportError:
        return _ed25519_of_cryptography()

    def verify(key: bytes, seal: bytes, message: bytes) -> bool:
        try:
            VerifyKey(key).verify(message, seal)
        except (CryptoError, ValueError, TypeError):
            return False
        return True

    return verify


def _ed25519_of_cryptography() -> Any:
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        return None

    def verify(key: bytes, seal: bytes, message: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(seal, message)
        except (InvalidSignature, ValueError):
            return False
        return True

    return verify


def _bytes(value: str | bytes) -> bytes:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
