"""The channel factories and what their channels can carry."""

from __future__ import annotations

import subprocess
import sys

import pytest

import roomkit.channels as channels
from roomkit.channels import (
    EMAIL_CAPABILITIES,
    HTTP_CAPABILITIES,
    MESSENGER_CAPABILITIES,
    RCS_CAPABILITIES,
    SMS_CAPABILITIES,
    TEAMS_CAPABILITIES,
    WHATSAPP_CAPABILITIES,
    WHATSAPP_PERSONAL_CAPABILITIES,
    EmailChannel,
    HTTPChannel,
    MessengerChannel,
    RCSChannel,
    SMSChannel,
    TeamsChannel,
    WhatsAppChannel,
    WhatsAppPersonalChannel,
)
from roomkit.channels.transport import TransportChannel
from roomkit.models.channel import ChannelCapabilities
from roomkit.models.enums import ChannelCategory, ChannelType

KINDS = [
    (SMSChannel, ChannelType.SMS, "phone_number", SMS_CAPABILITIES),
    (EmailChannel, ChannelType.EMAIL, "email_address", EMAIL_CAPABILITIES),
    (WhatsAppChannel, ChannelType.WHATSAPP, "phone_number", WHATSAPP_CAPABILITIES),
    (
        WhatsAppPersonalChannel,
        ChannelType.WHATSAPP_PERSONAL,
        "phone_number",
        WHATSAPP_PERSONAL_CAPABILITIES,
    ),
    (MessengerChannel, ChannelType.MESSENGER, "facebook_user_id", MESSENGER_CAPABILITIES),
    (TeamsChannel, ChannelType.TEAMS, "teams_conversation_id", TEAMS_CAPABILITIES),
    (HTTPChannel, ChannelType.WEBHOOK, "recipient_id", HTTP_CAPABILITIES),
    (RCSChannel, ChannelType.RCS, "phone_number", RCS_CAPABILITIES),
]

CAN = [
    (SMS_CAPABILITIES, "text media", "read_receipts media", {"max_length": 1600}),
    (EMAIL_CAPABILITIES, "text rich media", "threading rich_text media", {}),
    (
        WHATSAPP_CAPABILITIES,
        "text rich media location template",
        "read_receipts reactions edit delete templates rich_text buttons quick_replies media",
        {"max_length": 4096, "max_buttons": 3},
    ),
    (
        WHATSAPP_PERSONAL_CAPABILITIES,
        "text rich media audio video location",
        "read_receipts reactions edit delete media audio video typing",
        {
            "max_length": 4096,
            "supported_media_types": ["image/jpeg", "image/png", "image/webp"],
            "supported_audio_formats": ["audio/ogg", "audio/mp4"],
            "supported_video_formats": ["video/mp4"],
        },
    ),
    (
        MESSENGER_CAPABILITIES,
        "text rich media template",
        "read_receipts delete buttons quick_replies media",
        {"max_length": 2000, "max_buttons": 3},
    ),
    (
        TEAMS_CAPABILITIES,
        "text rich",
        "threading reactions edit delete read_receipts rich_text",
        {"max_length": 28000},
    ),
    (HTTP_CAPABILITIES, "text rich", "", {}),
    (
        RCS_CAPABILITIES,
        "text rich media",
        "read_receipts typing rich_text buttons quick_replies cards media",
        {"max_length": 8000},
    ),
]


class TestFactories:
    """Each factory gives a TransportChannel of its kind that shares its capabilities."""

    @pytest.mark.parametrize(("factory", "kind", "key", "capabilities"), KINDS)
    def test_kind(self, factory, kind, key, capabilities) -> None:
        channel = factory("c1")
        assert type(channel) is TransportChannel
        assert channel.channel_id == "c1"
        assert channel.channel_type is kind
        assert channel.recipient_key == key
        assert channel.category is ChannelCategory.TRANSPORT
        assert channel.capabilities() is capabilities

    @pytest.mark.parametrize(("factory", "kind", "key", "capabilities"), KINDS)
    def test_recipient_is_needed_but_for_webhooks(self, factory, kind, key, capabilities) -> None:
        assert factory("c1").requires_recipient is (kind is not ChannelType.WEBHOOK)

    def test_info_shows_the_settings_that_are_set(self) -> None:
        assert SMSChannel("c", from_number="+1555").info == {"from_": "+1555"}
        assert SMSChannel("c").info == {}
        assert EmailChannel("c", from_address="a@b.c").info == {"from_": "a@b.c"}
        assert RCSChannel("c").info == {"fallback": True}
        assert RCSChannel("c", fallback=False).info == {"fallback": False}
        assert HTTPChannel("c").info == {}


class TestCapabilities:
    """What each kind can carry is what its vendors document."""

    @pytest.mark.parametrize(("capabilities", "media", "flags", "limits"), CAN)
    def test_exactly(self, capabilities, media, flags, limits) -> None:
        expected = ChannelCapabilities(
            media_types=media.split(),
            **{f"supports_{flag}": True for flag in flags.split()},
            **limits,
        )
        assert capabilities == expected


class TestPackage:
    """The package names what it promises and loads it when used."""

    def test_every_name_resolves_and_is_listed(self) -> None:
        assert len(channels.__all__) == 16
        for name in channels.__all__:
            assert getattr(channels, name) is not None
        assert set(channels.__all__) <= set(dir(channels))

    def test_unknown_name(self) -> None:
        with pytest.raises(AttributeError, match="NoSuchChannel"):
            _ = channels.NoSuchChannel

    def test_importing_the_package_loads_no_models(self) -> None:
        code = (
            "import sys, roomkit.channels\n"
            "sys.exit(any(m in sys.modules for m in ('pydantic', 'asyncio', 'roomkit.models')))"
        )
        done = subprocess.run([sys.executable, "-c", code], check=False, timeout=30)
        assert done.returncode == 0
