"""Good bodies of vendors' callbacks, with what text is made of in them."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from tests.reliability._seals import APP_ID, TEAMS

PHONE = "+14155550100"
OWN = "+14155550199"
NOW = 1_790_000_000
"""The moment requests come, in unix seconds."""
EMOJI = "caf\u00e9 + cr\u00e8me \u2615 \U0001f468\u200d\U0001f469\u200d\U0001f467 50%"
TWILIO_FIELDS = {
    "MessageSid": "SM1",
    "AccountSid": "AC1",
    "From": PHONE,
    "To": OWN,
    "Body": EMOJI,
    "NumMedia": "0",
    "FromCity": "",
}
TWILIO_FORM = urlencode(TWILIO_FIELDS).encode()
TWILIO_JSON = json.dumps(TWILIO_FIELDS, ensure_ascii=False).encode()


def telnyx_body(kind: str, **said: Any) -> bytes:
    payload = {
        "id": "msg-1",
        "direction": "inbound",
        "type": kind,
        "from": {"phone_number": PHONE},
        "to": [{"phone_number": OWN, "agent_id": "a"}],
        "received_at": "2026-01-01T00:00:00.000+00:00",
        **said,
    }
    event = {"event_type": "message.received", "id": "ev-1", "payload": payload}
    return json.dumps({"data": event, "meta": {"attempt": 1}}, ensure_ascii=False).encode()


def meta_body(**entry: Any) -> bytes:
    return json.dumps({"object": "o", "entry": [entry]}, separators=(",", ":")).encode()


MESSENGER_BODY = meta_body(
    id="111",
    time=NOW * 1000,
    messaging=[
        {
            "sender": {"id": "222"},
            "recipient": {"id": "111"},
            "timestamp": NOW * 1000,
            "message": {"mid": "m_1", "text": EMOJI},
        }
    ],
)
WHATSAPP_BODY = meta_body(
    id="333",
    changes=[
        {
            "field": "messages",
            "value": {
                "messaging_product": "whatsapp",
                "metadata": {"display_phone_number": "1415", "phone_number_id": "444"},
                "contacts": [{"profile": {"name": "Ana"}, "wa_id": "14155550100"}],
                "messages": [
                    {
                        "from": "14155550100",
                        "id": "wamid.1",
                        "timestamp": str(NOW),
                        "type": "text",
                        "text": {"body": EMOJI},
                    }
                ],
            },
        }
    ],
)
BOUNDARY = "xYzZY"
MAIL_BODY = (
    b"".join(
        (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        ).encode()
        for name, value in {
            "headers": "Message-ID: <m-1@example.org>\nSubject: Hi\n",
            "from": "Ana <ana@example.org>",
            "to": "bot@in.example.com",
            "subject": "Hi",
            "text": EMOJI,
            "envelope": '{"to":["bot@in.example.com"],"from":"ana@example.org"}',
            "charsets": '{"text":"UTF-8"}',
        }.items()
    )
    + f"--{BOUNDARY}--\r\n".encode()
)
EVENTS_BODY = (
    json.dumps(
        [
            {
                "email": "ana@example.org",
                "timestamp": NOW,
                "event": "bounce",
                "reason": EMOJI,
                "sg_message_id": "id-1.recvd-1",
            }
        ],
        ensure_ascii=False,
    ).encode()
    + b"\r\n"
)
HTTP_BODY = json.dumps(
    {"sender_id": "user-1", "body": EMOJI, "external_id": "e-1"}, ensure_ascii=False
).encode()
TEAMS_BODY = json.dumps(
    {
        "type": "message",
        "id": "in-1",
        "channelId": "msteams",
        "serviceUrl": f"{TEAMS}/amer/",
        "from": {"id": "29:person", "name": "Ana"},
        "recipient": {"id": f"28:{APP_ID}"},
        "conversation": {"id": "a:personal", "conversationType": "personal"},
        "text": EMOJI,
    },
    ensure_ascii=False,
).encode()
