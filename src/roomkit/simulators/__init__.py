"""Stand-ins for vendors, on a real socket: they speak the vendor's dialect, strictly.

A simulator takes the requests a provider makes and answers as the vendor would, success and
failure; it signs webhooks as the vendor would and sends them to your endpoint. Tests and
examples run against it, and ``python -m roomkit sim twilio`` starts one to play with::

    async with TwilioSimulator() as sim:
        provider = TwilioSMSProvider(TwilioConfig(**sim.settings))
        await provider.send(event, "+15551230000")
        assert sim.sent[0].text == "hello"

Needs the extra ``simulators``. Nothing here is for production: there are no limits worth the name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = [
    "SIMULATORS",
    "AnthropicSimulator",
    "DeepgramSimulator",
    "ElasticEmailSimulator",
    "ElevenLabsSimulator",
    "GeminiLiveSimulator",
    "GeminiSimulator",
    "MessengerSimulator",
    "OpenAIRealtimeSimulator",
    "OpenAISimulator",
    "SendGridSimulator",
    "SentMessage",
    "SimReply",
    "SimRequest",
    "SinchSimulator",
    "TeamsSimulator",
    "TelnyxSimulator",
    "TwilioSimulator",
    "VendorSimulator",
    "VoiceMeUpSimulator",
    "WebhookAnswer",
    "WebhookSimulator",
    "WhatsAppSimulator",
    "cut",
    "error",
    "not_json",
    "ok",
    "served",
    "slow",
]

SIMULATORS = {
    "anthropic": "AnthropicSimulator",
    "deepgram": "DeepgramSimulator",
    "elevenlabs": "ElevenLabsSimulator",
    "elasticemail": "ElasticEmailSimulator",
    "gemini": "GeminiSimulator",
    "gemini_live": "GeminiLiveSimulator",
    "http": "WebhookSimulator",
    "messenger": "MessengerSimulator",
    "openai": "OpenAISimulator",
    "openai_realtime": "OpenAIRealtimeSimulator",
    "sendgrid": "SendGridSimulator",
    "sinch": "SinchSimulator",
    "teams": "TeamsSimulator",
    "telnyx": "TelnyxSimulator",
    "twilio": "TwilioSimulator",
    "voicemeup": "VoiceMeUpSimulator",
    "whatsapp": "WhatsAppSimulator",
}
"""The word for each on the command line, and the class it stands for."""

if TYPE_CHECKING:
    from roomkit.simulators._base import (
        SentMessage,
        SimReply,
        SimRequest,
        VendorSimulator,
        WebhookAnswer,
        cut,
        error,
        not_json,
        ok,
        slow,
    )
    from roomkit.simulators._server import served
    from roomkit.simulators.anthropic import AnthropicSimulator
    from roomkit.simulators.deepgram import DeepgramSimulator
    from roomkit.simulators.elasticemail import ElasticEmailSimulator
    from roomkit.simulators.elevenlabs import ElevenLabsSimulator
    from roomkit.simulators.gemini import GeminiSimulator
    from roomkit.simulators.gemini_live import GeminiLiveSimulator
    from roomkit.simulators.http import WebhookSimulator
    from roomkit.simulators.messenger import MessengerSimulator
    from roomkit.simulators.openai import OpenAISimulator
    from roomkit.simulators.openai_realtime import OpenAIRealtimeSimulator
    from roomkit.simulators.sendgrid import SendGridSimulator
    from roomkit.simulators.sinch import SinchSimulator
    from roomkit.simulators.teams import TeamsSimulator
    from roomkit.simulators.telnyx import TelnyxSimulator
    from roomkit.simulators.twilio import TwilioSimulator
    from roomkit.simulators.voicemeup import VoiceMeUpSimulator
    from roomkit.simulators.whatsapp import WhatsAppSimulator
else:
    from roomkit._lazy import lazy_exports

    _BASE = (
        "SentMessage", "SimReply", "SimRequest", "VendorSimulator", "WebhookAnswer",
        "cut", "error", "not_json", "ok", "slow",
    )  # fmt: skip
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {name: "roomkit.simulators._base" for name in _BASE}
        | {"served": "roomkit.simulators._server"}
        | {name: f"roomkit.simulators.{module}" for module, name in SIMULATORS.items()},
        extra=["SIMULATORS"],
    )
