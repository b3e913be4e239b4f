"""The bytes of ``data:`` URLs (RFC 2397), for vendors that want them uploaded."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import unquote_to_bytes


def data_of(url: str) -> bytes | None:
    """Return what a ``data:`` URL holds; None when it holds nothing, or is none.

    Whoever calls this on megabytes does so in a thread.
    """
    head, comma, body = url.partition(",")
    if not head.startswith("data:") or not comma:
        return None
    if not head.lower().endswith(";base64"):
        return unquote_to_bytes(body) or None
    try:
        return base64.b64decode(unquote_to_bytes(body), validate=True) or None
    except (binascii.Error, ValueError):
        return None
