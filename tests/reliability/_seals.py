"""What each vendor signs, worked out from its documents alone.

With the standard library, cryptography and PyJWT: neither our code nor the simulators' has a
part in it. Each function takes ``(secret, url, body, moment)`` and returns the headers.
"""

from __future__ import annotations

import base64
import functools
import hmac
import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256

if TYPE_CHECKING:
    from collections.abc import Mapping

APP_ID = "11111111-2222-3333-4444-555555555555"
TEAMS = "https://teams.test"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _mac(secret: str | bytes, data: bytes, algorithm: str = "sha256") -> bytes:
    key = secret.encode() if isinstance(secret, str) else secret
    return hmac.new(key, data, algorithm).digest()


def twilio(secret: str, url: str, body: bytes, moment: str) -> dict[str, str]:
    pairs = sorted(set(parse_qsl(body.decode(errors="replace"), keep_blank_values=True)))
    text = url + "".join(name + value for name, value in pairs)
    return {"x-twilio-signature": b64(_mac(secret, text.encode(), "sha1"))}


def twilio_url(secret: str, url: str, body: bytes, moment: str) -> dict[str, str]:
    return {"x-twilio-signature": b64(_mac(secret, url.encode(), "sha1"))}


def twilio_shared(secret: str, url: str, body: bytes, moment: str) -> dict[str, str]:
    pairs = sorted(set(parse_qsl(body.decode(errors="replace"), keep_blank_values=True)))
    text = url + "".join(name + value for name, value in pairs)
    return {
        "x-twilio-signature": b64(_mac(secret, text.encode())),
        "x-twilio-webhooks-signature-settings": "key=K1,algorithm=HMAC_SHA256",
    }


def _seeded(seed: str) -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.from_private_bytes(base64.b64decode(seed))


def telnyx_public(seed: str) -> str:
    return b64(_seeded(seed).public_key().public_bytes_raw())


def telnyx(secret: str, url: str, body: bytes, moment: str) -> dict[str, str]:
    seal = _seeded(secret).sign(moment.encode("utf-8", "surrogatepass") + b"|" + body)
    return {"telnyx-signature-ed25519": b64(seal), "telnyx-timestamp": moment}


def sinch(secret: str, url: str, body: bytes, moment: str) -> dict[str, str]:
    signed = body + b".nonce-1." + moment.encode("utf-8", "surrogatepass")
    return {
        "x-sinch-webhook-signature": b64(_mac(secret, signed)),
        "x-sinch-webhook-signature-nonce": "nonce-1",
        "x-sinch-webhook-signature-timestamp": moment,
        "x-sinch-webhook-signature-algorithm": "HmacSHA256",
    }


def meta(secret: str, url: str, body: bytes, moment: str) -> dict[str, str]:
    return {
        "x-hub-signature-256": f"sha256={_mac(secret, body).hex()}",
        "x-hub-signature": f"sha1={_mac(secret, body, 'sha1').hex()}",
    }


def _p256(scalar: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int(scalar, 16), ec.SECP256R1())


def sendgrid_public(scalar: str) -> str:
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    return b64(_p256(scalar).public_key().public_bytes(serialization.Encoding.DER, spki))


def sendgrid(secret: str, url: str, body: bytes, moment: str) -> dict[str, str]:
    signed = moment.encode("utf-8", "surrogatepass") + body
    seal = _p256(secret).sign(signed, ec.ECDSA(SHA256()))
    return {
        "x-twilio-email-event-webhook-signature": b64(seal),
        "x-twilio-email-event-webhook-timestamp": moment,
    }


def http(secret: str, url: str, body: bytes, moment: str) -> dict[str, str]:
    return {"x-roomkit-signature": _mac(secret, body).hex()}


def http_timed(secret: str, url: str, body: bytes, moment: str) -> dict[str, str]:
    signed = moment.encode("utf-8", "surrogatepass") + b"." + body
    return {
        "x-roomkit-signature": _mac(secret, signed).hex(),
        "x-roomkit-timestamp": moment,
    }


def standard(secret: str, url: str, body: bytes, moment: str) -> dict[str, str]:
    signed = b"msg_1." + moment.encode("utf-8", "surrogatepass") + b"." + body
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": moment,
        "webhook-signature": f"v1,{b64(_mac(key, signed))}",
    }


@functools.cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def teams_token(key: str, header: Mapping[str, Any] | None = None, **claims: Any) -> str:
    """Return a token as the connector makes them, with other claims where a test wants them."""
    now = int(time.time())
    said = {
        "iss": "https://api.botframework.com",
        "aud": APP_ID,
        "nbf": now - 60,
        "exp": now + 3600,
        "serviceurl": f"{TEAMS}/amer/",
        **claims,
    }
    return jwt.encode(
        said, rsa_key(key), algorithm="RS256", headers={"kid": "k1", **(header or {})}
    )


def teams(secret: str, url: str, body: bytes, moment: str) -> dict[str, str]:
    return {"authorization": f"Bearer {teams_token(secret)}"}


def teams_public() -> dict[str, Any]:
    """Return the key the connector publishes."""
    found = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(rsa_key("ours").public_key()))
    return {**found, "kid": "k1", "endorsements": ["msteams"]}
