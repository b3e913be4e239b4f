"""Who sees what: the one predicate, asked for delivery and for what an AI remembers.

A visibility is ``all``, ``none``, ``internal``, ``transport``, ``intelligence``, one channel
id, or several with commas between them. Pure: no I/O, no state but a cache of parsed words.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from roomkit.models.enums import ChannelCategory

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from roomkit.models.channel import ChannelBinding

ALL = "all"
NONE = "none"
INTERNAL = "internal"

_CATEGORIES = {category.value: category for category in ChannelCategory}
_KEYWORDS = frozenset({ALL, NONE, INTERNAL, *_CATEGORIES})


def visible_to(visibility: str, binding: ChannelBinding) -> bool:
    """Return whether something of this visibility is shown to a channel.

    ``internal`` is for the timeline only and reaches no channel, as ``none``. A word that is
    neither a keyword nor the channel's id shows it to nobody.
    """
    if visibility == ALL:
        return True
    category = _CATEGORIES.get(visibility)
    if category is not None:
        return binding.category == category
    return binding.channel_id in _named(visibility)


def stricter(first: str, second: str, bindings: Sequence[ChannelBinding]) -> str:
    """Return one visibility that lets through only what both let through.

    ``all`` gives way to the other, ``none`` and then ``internal`` win over everything. A
    category with channel ids becomes the ids of that category.

    Args:
        first: A visibility.
        second: Another; the order of the two does not matter for who sees it.
        bindings: The room's channels, which tell the category of an id.
    """
    if first == second or second == ALL:
        return first
    if first == ALL:
        return second
    for hidden in (NONE, INTERNAL):
        if hidden in (first, second):
            return hidden
    if first in _CATEGORIES and second in _CATEGORIES:
        return NONE
    if first in _CATEGORIES or second in _CATEGORIES:
        return _listed(
            b.channel_id for b in bindings if visible_to(first, b) and visible_to(second, b)
        )
    shared = _named(second)
    return _listed(channel_id for channel_id in _named(first) if channel_id in shared)


def _listed(channel_ids: Iterable[str]) -> str:
    """Return the visibility that names exactly these channels."""
    ids = list(dict.fromkeys(channel_ids))
    if not ids:
        return NONE
    # A lone channel that is called like a keyword must stay a list.
    return f"{ids[0]}," if len(ids) == 1 and ids[0] in _KEYWORDS else ",".join(ids)


@lru_cache(maxsize=1024)
def _named(visibility: str) -> dict[str, None]:
    """Return the channel ids a visibility names, in order; read only, as it is shared."""
    if visibility in (NONE, INTERNAL):
        return {}
    names = (name.strip() for name in visibility.split(","))
    return dict.fromkeys(name for name in names if name)
