"""A voice backend mounted on the fake FastRTC, and its clients."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import pytest

from roomkit.voice.backends.fastrtc import FastRTCVoiceBackend, mount_fastrtc_voice
from tests.test_voice._fake_fastrtc import Client, packages, samples

if TYPE_CHECKING:
    from roomkit.testing import ManualClock
    from roomkit.voice.audio_frame import AudioFrame
    from roomkit.voice.base import VoiceSession

RATE = 24000
MS = 48
"""Bytes of a millisecond at that rate."""


def mount_on_fakes(backend: FastRTCVoiceBackend, **options: Any) -> None:
    """Mount a backend where FastRTC and numpy are what the fakes make of them."""
    with pytest.MonkeyPatch.context() as patch:
        found = packages()
        patch.setitem(sys.modules, "fastrtc", found.fastrtc)
        patch.setitem(sys.modules, "numpy", found.numpy)
        mount_fastrtc_voice("app", backend, **options)


class Desk:
    """A mounted backend whose clients get sessions."""

    def __init__(self, clock: ManualClock, concurrency_limit: int = 100, **options: Any) -> None:
        self.backend = FastRTCVoiceBackend(clock=clock, **options)
        self.heard: list[AudioFrame] = []
        self.ended: list[VoiceSession] = []
        self.asked: list[str] = []
        self.clients: list[Client] = []
        self.backend.on_audio_received(lambda _, frame: self.heard.append(frame))
        self.backend.on_session_ended(self.ended.append)
        mount_on_fakes(
            self.backend,
            session_factory=self._session,
            path="/voice",
            concurrency_limit=concurrency_limit,
        )
        self.slow = asyncio.Event()
        self.stream: Any = vars(self.backend)["_stream"]

    async def _session(self, websocket_id: str) -> VoiceSession | None:
        self.asked.append(websocket_id)
        if websocket_id == "stranger":
            return None
        if websocket_id == "broken":
            raise RuntimeError("s3cret")
        if websocket_id == "slow":
            await self.slow.wait()
        return await self.backend.connect("r", "ana", "voice")

    async def call(self, name: str = "w1", kind: str = "websocket") -> tuple[Client, VoiceSession]:
        """Return a client that has a session."""
        client = Client(self.stream, name, kind=kind)
        self.clients.append(client)
        await client.hear(samples(bytes(1920)))
        return client, self.backend.list_sessions("r")[-1]

    async def close(self) -> None:
        """End everything."""
        for client in self.clients:
            await client.leave()
        await self.backend.close()
