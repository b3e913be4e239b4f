"""What each kind of channel can carry, and what is left of it over a given provider.

The constants are shared by all channels of their kind: read them, do not change them.
"""

from __future__ import annotations

from typing import Any

from roomkit.models.channel import ChannelCapabilities
from roomkit.models.enums import ChannelMediaType

_TEXT = ChannelMediaType.TEXT
_RICH = ChannelMediaType.RICH
_MEDIA = ChannelMediaType.MEDIA
_AUDIO = ChannelMediaType.AUDIO
_VIDEO = ChannelMediaType.VIDEO
_LOCATION = ChannelMediaType.LOCATION
_TEMPLATE = ChannelMediaType.TEMPLATE

SMS_CAPABILITIES = ChannelCapabilities(
    media_types=[_TEXT, _MEDIA],
    max_length=1600,
    supports_read_receipts=True,
    supports_media=True,
)
"""Text of up to 1600 characters, pictures and read receipts; a vendor may allow less."""

EMAIL_CAPABILITIES = ChannelCapabilities(
    media_types=[_TEXT, _RICH, _MEDIA],
    supports_threading=True,
    supports_rich_text=True,
    supports_media=True,
)
"""Text and HTML of any length, attachments and threads."""

WHATSAPP_CAPABILITIES = ChannelCapabilities(
    media_types=[_TEXT, _RICH, _MEDIA, _LOCATION, _TEMPLATE],
    max_length=4096,
    supports_read_receipts=True,
    supports_reactions=True,
    supports_edit=True,
    supports_delete=True,
    supports_templates=True,
    supports_rich_text=True,
    supports_buttons=True,
    max_buttons=3,
    supports_quick_replies=True,
    supports_media=True,
)
"""What the business API carries: three buttons, templates, places, reactions and edits."""

WHATSAPP_PERSONAL_CAPABILITIES = ChannelCapabilities(
    media_types=[_TEXT, _RICH, _MEDIA, _AUDIO, _VIDEO, _LOCATION],
    max_length=4096,
    supports_read_receipts=True,
    supports_reactions=True,
    supports_edit=True,
    supports_delete=True,
    supports_typing=True,
    supports_media=True,
    supported_media_types=["image/jpeg", "image/png", "image/webp"],
    supports_audio=True,
    supported_audio_formats=["audio/ogg", "audio/mp4"],
    supports_video=True,
    supported_video_formats=["video/mp4"],
)
"""What a linked personal account carries: voice messages and films, but no buttons."""

MESSENGER_CAPABILITIES = ChannelCapabilities(
    media_types=[_TEXT, _RICH, _MEDIA, _TEMPLATE],
    max_length=2000,
    supports_read_receipts=True,
    supports_delete=True,
    supports_buttons=True,
    max_buttons=3,
    supports_quick_replies=True,
    supports_media=True,
)
"""Text of up to 2000 characters, pictures, three buttons, quick replies and templates."""

TEAMS_CAPABILITIES = ChannelCapabilities(
    media_types=[_TEXT, _RICH],
    max_length=28000,
    supports_threading=True,
    supports_reactions=True,
    supports_edit=True,
    supports_delete=True,
    supports_read_receipts=True,
    supports_rich_text=True,
)
"""Text and markdown of up to 28,000 characters, threads, reactions, edits and deletes."""

HTTP_CAPABILITIES = ChannelCapabilities(media_types=[_TEXT, _RICH])
"""Text and rich text; what the other program shows of it is its own affair."""

RCS_CAPABILITIES = ChannelCapabilities(
    media_types=[_TEXT, _RICH, _MEDIA],
    max_length=8000,
    supports_read_receipts=True,
    supports_typing=True,
    supports_rich_text=True,
    supports_buttons=True,
    supports_quick_replies=True,
    supports_cards=True,
    supports_media=True,
)
"""Text of up to 8000 characters, pictures, cards, buttons and quick replies."""

WEBSOCKET_CAPABILITIES = ChannelCapabilities(
    media_types=[_TEXT, _RICH, _MEDIA, _AUDIO, _VIDEO, _LOCATION],
    supports_typing=True,
    supports_read_receipts=True,
    supports_reactions=True,
    supports_edit=True,
    supports_delete=True,
    supports_rich_text=True,
    supports_media=True,
    supports_buttons=True,
    supports_cards=True,
    supports_quick_replies=True,
)
"""All there is except templates: your own program shows it."""

_OWN = {"delivery_mode", "custom"}
"""Settings of the channel in its room, on which a vendor has no say."""


def in_force(
    channel: ChannelCapabilities, provider: ChannelCapabilities | None
) -> ChannelCapabilities:
    """Return what both the channel and its provider can carry.

    A flag holds where both set it, a limit is the smaller one, and ``media_types`` are those
    of both in the channel's order. A list of formats that one side leaves empty is the
    other's: empty means that nothing is known against any format; where two lists share
    nothing the provider's holds. ``delivery_mode`` and ``custom`` stay the channel's.

    Args:
        channel: What the kind of channel can carry.
        provider: What the vendor can carry; None when it does not say, and ``channel`` is
            returned as it is.
    """
    if provider is None or provider is channel:
        return channel
    both: dict[str, Any] = {}
    for name in ChannelCapabilities.model_fields:
        ours, theirs = getattr(channel, name), getattr(provider, name)
        if name in _OWN:
            both[name] = ours
        elif name == "media_types":
            both[name] = [kind for kind in ours if kind in theirs]
        elif isinstance(ours, list):
            both[name] = [item for item in ours if not theirs or item in theirs] or list(theirs)
        elif isinstance(ours, bool):
            both[name] = ours and theirs
        else:
            both[name] = min(
                (limit for limit in (ours, theirs) if limit is not None), default=None
            )
    return ChannelCapabilities(**both)
