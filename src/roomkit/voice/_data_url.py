"""``data:`` URLs (RFC 2397) with recordings in them."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from roomkit.exceptions import InvalidInputError

MAX_BYTES = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class DataURL:
    """What such a URL holds.

    Attributes:
        data: The bytes.
        mime_type: In lower case; empty when it names none.
        parameters: Of the type, names in lower case, such as ``rate``.
    """

    data: bytes = field(repr=False)
    mime_type: str
    parameters: dict[str, str]


def read_data_url(url: str) -> DataURL:
    """Return what a ``data:`` URL holds.

    Raises:
        InvalidInputError: It has no comma, is no base64 although it says so, or holds more
            than 10 MiB. The text quotes nothing of it.
    """
    head, comma, body = url[len("data:") :].partition(",")
    if not comma:
        raise InvalidInputError("audio.url: a data: URL without a comma")
    if len(body) > MAX_BYTES * 3:
        raise _too_long()
    mime, *rest = [part.strip() for part in head.split(";")]
    encoded = bool(rest) and rest[-1].lower() == "base64"
    data = unquote_to_bytes(body)
    if encoded:
        try:
            data = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError):
            raise InvalidInputError("audio.url: a data: URL that is no base64") from None
    if len(data) > MAX_BYTES:
        raise _too_long()
    pairs = (part.partition("=") for part in rest if "=" in part)
    return DataURL(data, mime.lower(), {name.lower(): value for name, _, value in pairs})


def _too_long() -> InvalidInputError:
    return InvalidInputError("audio.url: a data: URL with more than 10 MiB")
