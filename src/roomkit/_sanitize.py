"""The door: what every store must refuse or clean, decided once, before anything is stored.

NUL characters and lone surrogates are removed from text (a database cannot hold them), NaN
and infinities become None, and metadata JSON cannot carry is refused with its path.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from roomkit.exceptions import InvalidMetadataError

MAX_METADATA_DEPTH = 64
"""Deeper metadata is refused, well before any JSON encoder would run out of stack."""


def clean_text(text: str) -> str:
    """Return ``text`` without NUL characters and lone surrogates; itself when it has none."""
    if "\x00" in text:
        text = text.replace("\x00", "")
    if text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode("utf-8")
    return text


def clean_json(value: Any, path: str = "metadata", depth: int = 0) -> Any:
    """Return ``value`` as JSON can carry it; the same object when nothing had to change.

    Tuples become lists and enum members their values, as JSON would make them.

    Raises:
        InvalidMetadataError: Something in it has no JSON form; the text names its path.
    """
    kind = type(value)
    if kind is str:
        return clean_text(value)
    if value is None or kind is bool or kind is int:
        return value
    if kind is float:
        return value if math.isfinite(value) else None
    if depth >= MAX_METADATA_DEPTH:
        raise InvalidMetadataError(f"{path} is nested deeper than {MAX_METADATA_DEPTH} levels")
    if isinstance(value, Mapping):
        return _clean_mapping(value, path, depth)
    if isinstance(value, (list, tuple)):
        cleaned = [clean_json(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
        same = kind is list and all(a is b for a, b in zip(cleaned, value, strict=True))
        return value if same else cleaned
    for plain in (str, int, float):
        if isinstance(value, plain):
            return clean_json(plain(value), path, depth)
    raise InvalidMetadataError(f"{path} holds a {kind.__name__}, which JSON cannot carry")


def _clean_mapping(value: Mapping[Any, Any], path: str, depth: int) -> Mapping[Any, Any]:
    cleaned: dict[str, Any] = {}
    same = type(value) is dict
    for key, item in value.items():
        if not isinstance(key, str):
            raise InvalidMetadataError(f"{path} has a key that is not text")
        clean_key = clean_text(str(key))
        clean_item = clean_json(item, f"{path}.{clean_key[:40]}", depth + 1)
        same = same and clean_key is key and clean_item is item
        cleaned[clean_key] = clean_item
    return value if same else cleaned
