"""A call lives in one process; rooms are shared by several."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit import RoomKit, SQLiteStore, TextContent
from roomkit.channels.voice import VoiceChannel
from roomkit.testing import SimpleChannel
from roomkit.voice.backends.mock import MockVoiceBackend
from roomkit.voice.tts.mock import MockTTSProvider
from tests.test_voice._voice_rooms import ROOM, until

if TYPE_CHECKING:
    from pathlib import Path


def process(path: Path, voice_id: str | None) -> tuple[RoomKit, MockVoiceBackend]:
    """Return what stands for a process: a kit on the shared store, a desk, and perhaps voice."""
    backend = MockVoiceBackend()
    kit = RoomKit(store=SQLiteStore(path / "rooms.db"), voice=backend)
    kit.register_channel(SimpleChannel("desk"))
    if voice_id is not None:
        kit.register_channel(VoiceChannel(voice_id, tts=MockTTSProvider(), backend=backend))
    return kit, backend


async def open_room(kit: RoomKit, voice_id: str) -> None:
    """Make a room with a desk and a caller."""
    await kit.create_room(ROOM)
    await kit.attach_channel(ROOM, "desk")
    await kit.attach_channel(ROOM, voice_id)
    await kit.connect_voice(ROOM, "pat", voice_id)


class TestProcesses:
    """Who speaks to a caller."""

    async def test_a_channel_of_ones_own_waits_for_its_process(self, tmp_path: Path) -> None:
        """What enters elsewhere is spoken by the process that has the caller."""
        here, telephone = process(tmp_path, "phone-1")
        there, other = process(tmp_path, "phone-2")
        async with here, there:
            await open_room(here, "phone-1")
            await there.send_event(ROOM, "desk", TextContent(body="hello"))
            await until(lambda: telephone.sent_audio)
            assert [data for _, data in telephone.sent_audio] == [b"mock-audio-hello"]
            assert other.sent_audio == []

    async def test_what_is_committed_here_is_spoken_here(self, tmp_path: Path) -> None:
        """Another process with the same channel takes none of it away."""
        here, telephone = process(tmp_path, "phone")
        there, other = process(tmp_path, "phone")
        async with here, there:
            await open_room(here, "phone")
            for number in range(20):
                await here.send_event(ROOM, "desk", TextContent(body=f"n{number}"))
            await until(lambda: len(telephone.sent_audio) == 20)
            assert other.sent_audio == []

    async def test_the_limit(self, tmp_path: Path) -> None:
        """With one id in both, what enters where the caller is not finds nobody: skipped."""
        here, telephone = process(tmp_path, "phone")
        there, other = process(tmp_path, "phone")
        async with here, there:
            await open_room(here, "phone")
            event = await there.send_event(ROOM, "desk", TextContent(body="hello"))
            await there.drain(5)
            stored = await there.store.get_event(event.id)
            assert stored is not None
            assert stored.delivery_results["phone"]["status"] == "skipped"
            assert (telephone.sent_audio, other.sent_audio) == ([], [])
