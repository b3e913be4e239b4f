"""What Telnyx' SMS and RCS interfaces have in common: errors, ids and signatures.

Sources: the pages "Messaging error codes", "Rate Limiting", "Idempotency" and "Receiving
Webhooks for Messaging" of Telnyx' developer documentation.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

from roomkit._http import Refusal, number, retry_after
from roomkit.exceptions import InvalidInputError, MissingDependencyError
from roomkit.providers._signature import ed25519_valid, fresh

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import SecretStr

    from roomkit._http import Reply

API = "https://api.telnyx.com"
_KEY = re.compile(r"[A-Za-z0-9_:-]{1,255}", re.ASCII)


def bearer(api_key: SecretStr) -> dict[str, str]:
    """Return the headers of a JSON request."""
    return {
        "Authorization": f"Bearer {api_key.get_secret_value()}",
        "Content-Type": "application/json",
    }


def refusal(reply: Reply, *, prefix: str | None = None) -> Refusal:
    """Return what an error answer means.

    Args:
        reply: The answer.
        prefix: What comes before the vendor's code in the error of a 400, such as
            ``telnyx_``; None keeps the general codes.
    """
    vendor_code = text_of(reply.find("errors", 0, "code"))
    detail = reply.find("errors", 0, "detail") or reply.find("errors", 0, "title")
    code, message = None, text_of(detail)
    if prefix is not None and reply.status == 400 and isinstance(reply.json, dict):
        code, message = f"{prefix}{vendor_code or 'invalid_request'}", message or ""
    wait = retry_after(reply.headers)
    if wait is None and reply.status == 429:
        wait = _reset(reply)
    return Refusal(code, message=message, vendor_code=vendor_code, retry_after=wait)


def _reset(reply: Reply) -> float | None:
    """Return the seconds until the rate limit's window begins anew."""
    seconds = number(reply.headers.get("x-ratelimit-reset"))
    return None if seconds is None else max(0.0, seconds)


def text_of(value: Any) -> str | None:
    """Return an id or code as text; None when there is none."""
    if isinstance(value, str):
        return value or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def idempotency_key(part_key: str) -> str:
    """Return a key as Telnyx takes it: 1 to 255 letters, digits, ``-``, ``_`` and ``:``."""
    if _KEY.fullmatch(part_key):
        return part_key
    return hashlib.sha256(part_key.encode("utf-8", "surrogatepass")).hexdigest()


def verify(
    keys: Iterable[str],
    payload: bytes,
    signature: str,
    timestamp: str | None,
    *,
    tolerance: float | None = None,
    now: float | None = None,
) -> bool:
    """Tell whether Telnyx signed ``<timestamp>|<payload>`` with one of the keys, and when.

    Args:
        keys: Public keys, base64 of 32 bytes.
        payload: The raw body.
        signature: The header ``telnyx-signature-ed25519``, base64 of 64 bytes.
        timestamp: The header ``telnyx-timestamp``, unix seconds.
        tolerance: Seconds the timestamp may be off either way; None for any.
        now: Unix seconds; the system's clock by default.

    Raises:
        MissingDependencyError: Neither PyNaCl nor cryptography is installed.
    """
    if not signature or not timestamp or not fresh(timestamp, tolerance, now=now):
        return False
    message = timestamp.encode("ascii") + b"|" + payload
    valid = False
    for key in keys:
        answer = ed25519_valid(key, signature, message)
        if answer is None:
            raise MissingDependencyError(
                "PyNaCl", user="Telnyx signature verification", extra="pynacl"
            )
        valid |= answer
    return valid


def require_keys(keys: Iterable[str], owner: str) -> list[str]:
    """Return the keys.

    Raises:
        InvalidInputError: (a ValueError) There is none, so nothing can be verified.
    """
    found = [key for key in keys if key]
    if not found:
        raise InvalidInputError(
            f"public_key must be provided to {owner} to verify webhook signatures; "
            "it stands in the Telnyx portal under API keys"
        )
    return found
