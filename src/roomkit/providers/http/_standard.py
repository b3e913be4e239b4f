"""Standard Webhooks: how senders sign and receivers check, with secrets ``whsec_...``.

Protocol: the Standard Webhooks specification, symmetric signatures (``v1``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from roomkit.exceptions import ConfigurationError
from roomkit.providers._signature import fresh, from_base64, hmac_base64, matches_any

if TYPE_CHECKING:
    from collections.abc import Iterable

ID = "webhook-id"
TIMESTAMP = "webhook-timestamp"
SIGNATURE = "webhook-signature"

_PREFIX = "whsec_"
_VERSION = "v1,"
_MOST_SIGNATURES = 20
_LONGEST_HEADER = 4096
_SAFE_ID = re.compile(r"[!-~]{1,256}")


def key_of(secret: str) -> bytes:
    """Return the bytes a secret stands for.

    Raises:
        ConfigurationError: It is not ``whsec_`` and the base64 of 24 to 64 bytes.
    """
    key = from_base64(secret.removeprefix(_PREFIX)) if secret.startswith(_PREFIX) else None
    if key is None or not 24 <= len(key) <= 64:
        raise ConfigurationError(
            "the secret is not one of Standard Webhooks: it must be 'whsec_' followed by the "
            "base64 of 24 to 64 random bytes"
        )
    return key


def sign(keys: Iterable[bytes], message_id: str, timestamp: int, body: bytes) -> str:
    """Return the ``webhook-signature`` header, one signature a key."""
    content = f"{message_id}.{timestamp}.".encode() + body
    return " ".join(f"{_VERSION}{hmac_base64(key, content)}" for key in keys)


def verifies(
    keys: Iterable[bytes],
    message_id: str,
    timestamp: str,
    signature: str,
    body: bytes,
    tolerance: float | None,
    now: float | None = None,
) -> bool:
    """Tell whether a request was signed with one of the keys, and recently.

    Args:
        keys: Secrets as ``key_of`` reads them.
        message_id: The header ``webhook-id``.
        timestamp: The header ``webhook-timestamp``.
        signature: The header ``webhook-signature``; one good one of several is enough.
        body: The raw body.
        tolerance: Seconds the timestamp may be off; None: any.
        now: Unix seconds; the system's clock by default.
    """
    if _SAFE_ID.fullmatch(message_id) is None or len(signature) > _LONGEST_HEADER:
        return False
    if not fresh(timestamp, tolerance, now=now):
        return False
    content = f"{message_id}.{timestamp}.".encode() + body
    expected = [f"{_VERSION}{hmac_base64(key, content)}" for key in keys]
    given = signature.split(" ")[:_MOST_SIGNATURES]
    return any([matches_any(expected, one) for one in given])
