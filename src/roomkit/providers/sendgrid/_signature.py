"""SendGrid's signature: ECDSA over P-256 with SHA-256, of timestamp and raw body.

Protocol: Twilio's page "Getting Started with the Event Webhook Security Features"; Inbound Parse
signs the same way when a security policy is attached to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roomkit._lazy import require
from roomkit.exceptions import InvalidInputError
from roomkit.providers._signature import fresh, from_base64

if TYPE_CHECKING:
    from collections.abc import Iterable

SIGNATURE_HEADER = "x-twilio-email-event-webhook-signature"
TIMESTAMP_HEADER = "x-twilio-email-event-webhook-timestamp"

_USER = "SendGrid signature verification"
_LONGEST_SIGNATURE = 200


def signed_by(
    keys: Iterable[str | None],
    payload: bytes,
    signature: str,
    timestamp: str | None,
    tolerance: float | None = None,
    *,
    now: float | None = None,
) -> bool:
    """Tell whether one of the keys signed a payload.

    Args:
        keys: Public keys, base64 SPKI; None and empty ones are left out.
        payload: The raw body.
        signature: Base64 of the DER signature.
        timestamp: Unix seconds as they came.
        tolerance: Seconds the timestamp may be off; None: any.
        now: Unix seconds; the system's clock by default.

    Raises:
        InvalidInputError: There is no key.
        MissingDependencyError: cryptography is not installed.
    """
    known = [key for key in keys if key]
    if not known:
        raise InvalidInputError(
            "webhook_public_key must be provided: copy it from the vendor's console into "
            "SendGridConfig"
        )
    require("cryptography", user=_USER, extra="signatures")
    if not timestamp or len(signature) > _LONGEST_SIGNATURE:
        return False
    seal = from_base64(signature)
    if seal is None or not fresh(timestamp, tolerance, now=now):
        return False
    message = timestamp.encode() + payload
    # Every key is tried, so that the time taken does not tell which one it was.
    return any([_verifies(key, seal, message) for key in known])


def _verifies(key: str, seal: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    # Base64 has no hyphen: the first and last line of a PEM file are left out.
    raw = from_base64("".join(line.strip() for line in key.splitlines() if "-" not in line))
    if raw is None:
        return False
    try:
        public: Any = load_der_public_key(raw)
        if not isinstance(public, ec.EllipticCurvePublicKey):
            return False
        if not isinstance(public.curve, ec.SECP256R1):
            return False
        public.verify(seal, message, ec.ECDSA(SHA256()))
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True
