"""``X-Twilio-Signature``: what Twilio signs, as its page "Webhooks security" tells it.

The signed text is the URL and, of a form, every name and value: names sorted, of a repeated name
each value once and sorted. A body that is no form is hashed into the URL's ``bodySHA256``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from roomkit.providers._signature import hmac_base64, matches_any, same, sha256_hex
from roomkit.providers._webhook import MAX_FIELDS

if TYPE_CHECKING:
    from collections.abc import Sequence

ALGORITHM = "HMAC_SHA1"
"""What Twilio signs with unless a header says otherwise."""

_DIGESTS = {ALGORITHM: "sha1", "HMAC_SHA256": "sha256"}
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_PORT = re.compile(r":[0-9]{1,5}\Z")
_NETLOC = re.compile(r"[^/?#]*")


def is_signed(
    secrets: Sequence[str], payload: bytes, signature: str, url: str, algorithm: str = ALGORITHM
) -> bool:
    """Tell whether a request was signed with one of the secrets; never raises.

    Args:
        secrets: Tokens or shared keys.
        payload: The raw body; empty for a GET.
        signature: The header's value.
        url: The URL Twilio called, query included. Its port may be there or not: Twilio signs
            now one form, now the other.
        algorithm: ``HMAC_SHA1`` or ``HMAC_SHA256``.
    """
    digest = _DIGESTS.get(algorithm)
    fields = _signed_fields(payload, url)
    if digest is None or fields is None:
        return False
    texts = [(form + fields).encode("utf-8", "surrogatepass") for form in _forms(url)]
    expected = [hmac_base64(secret, text, digest) for secret in secrets for text in texts]
    return matches_any(expected, signature)


def _signed_fields(payload: bytes, url: str) -> str | None:
    """Return what is signed behind the URL; None for a body that cannot be the signed one."""
    query = url.partition("?")[2].partition("#")[0]
    try:
        told = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_FIELDS)
        digest = dict(told).get("bodySHA256")
        if digest is not None:
            return "" if same(sha256_hex(payload), digest) else None
        text = payload.decode("utf-8")
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        return None
    return "".join(name + value for name, value in sorted(set(pairs)))


def _forms(url: str) -> list[str]:
    """Return the URL with and without a port."""
    scheme, mark, rest = url.partition("://")
    found = _NETLOC.match(rest)
    netloc = found.group() if found else ""
    tail = rest[len(netloc) :]
    bare = _PORT.sub("", netloc)
    if bare != netloc:
        return [url, f"{scheme}{mark}{bare}{tail}"]
    port = _DEFAULT_PORTS.get(scheme.lower())
    return [url] if port is None else [url, f"{scheme}{mark}{netloc}:{port}{tail}"]
