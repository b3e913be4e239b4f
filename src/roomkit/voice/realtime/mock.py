"""A live model and a caller for tests: they do as told, and write down what they see."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from roomkit.voice.realtime.base import RealtimeSession, RealtimeSessionState
from roomkit.voice.realtime.provider import CallbackRealtimeProvider
from roomkit.voice.realtime.transport import CallbackRealtimeTransport


@dataclass
class MockCall:
    """A call a mock was given.

    Attributes:
        method: The method.
        args: What of its arguments is worth knowing.
    """

    method: str
    args: dict[str, Any] = field(default_factory=dict)


class MockRealtimeProvider(CallbackRealtimeProvider):
    """A model that says what the test makes it say.

    Attributes:
        calls: Every call, in order.
        sent_audio: ``(session id, audio)`` it heard.
        injected_texts: ``(session id, text, role)`` it was told.
        tool_results: ``(session id, call id, result)`` it was given.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[MockCall] = []
        self.sent_audio: list[tuple[str, bytes]] = []
        self.injected_texts: list[tuple[str, str, str]] = []
        self.tool_results: list[tuple[str, str, str]] = []

    @property
    def name(self) -> str:
        """``MockRealtimeProvider``."""
        return "MockRealtimeProvider"

    def _note(self, method: str, **args: Any) -> None:
        self.calls.append(MockCall(method, args))

    async def connect(
        self,
        session: RealtimeSession,
        *,
        system_prompt: str | None = None,
        voice: str | None = None,
        tools: list[dict[str, Any]] | None = None,
        temperature: float | None = None,
        input_sample_rate: int = 16000,
        output_sample_rate: int = 24000,
        server_vad: bool = True,
        provider_config: dict[str, Any] | None = None,
    ) -> None:
        """Make the session active; its vendor's id is ``mock-<session id>``."""
        self._note(
            "connect",
            session_id=session.id,
            system_prompt=system_prompt,
            voice=voice,
            tools=tools,
            temperature=temperature,
            input_sample_rate=input_sample_rate,
            output_sample_rate=output_sample_rate,
            server_vad=server_vad,
        )
        session.provider_session_id = f"mock-{session.id}"
        session.state = RealtimeSessionState.ACTIVE

    async def send_audio(self, session: RealtimeSession, audio: bytes) -> None:
        """Write down what was heard."""
        self._note("send_audio", session_id=session.id, size=len(audio))
        self.sent_audio.append((session.id, audio))

    async def inject_text(
        self, session: RealtimeSession, text: str, *, role: str = "user"
    ) -> None:
        """Write down what was told."""
        self._note("inject_text", session_id=session.id, text=text, role=role)
        self.injected_texts.append((session.id, text, role))

    async def submit_tool_result(
        self, session: RealtimeSession, call_id: str, result: str
    ) -> None:
        """Write down a result."""
        self._note("submit_tool_result", session_id=session.id, call_id=call_id, result=result)
        self.tool_results.append((session.id, call_id, result))

    async def interrupt(self, session: RealtimeSession) -> None:
        """Write down the wish."""
        self._note("interrupt", session_id=session.id)

    async def disconnect(self, session: RealtimeSession) -> None:
        """End the session."""
        self._note("disconnect", session_id=session.id)
        session.state = RealtimeSessionState.ENDED

    async def close(self) -> None:
        """Write down the end."""
        self._note("close")

    async def simulate_audio(self, session: RealtimeSession, audio: bytes) -> None:
        """Let the model say something."""
        await self._tell("audio", session, audio)

    async def simulate_transcription(
        self,
        session: RealtimeSession,
        text: str,
        role: str = "assistant",
        is_final: bool = True,
    ) -> None:
        """Let something be said, in writing."""
        await self._tell("transcription", session, text, role, is_final)

    async def simulate_speech_start(self, session: RealtimeSession) -> None:
        """Let the caller begin to speak."""
        await self._tell("speech_start", session)

    async def simulate_speech_end(self, session: RealtimeSession) -> None:
        """Let the caller have spoken."""
        await self._tell("speech_end", session)

    async def simulate_tool_call(
        self,
        session: RealtimeSession,
        call_id: str,
        name: str,
        arguments: dict[str, Any] | None = None,
    ) -> None:
        """Let the model call a tool."""
        await self._tell("tool_call", session, call_id, name, arguments or {})

    async def simulate_response_start(self, session: RealtimeSession) -> None:
        """Let the model begin to answer."""
        await self._tell("response_start", session)

    async def simulate_response_end(self, session: RealtimeSession) -> None:
        """Let the model have answered."""
        await self._tell("response_end", session)

    async def simulate_error(self, session: RealtimeSession, code: str, message: str) -> None:
        """Let something fail; for a link lost for good set the state to ENDED before."""
        await self._tell("error", session, code, message)


class MockRealtimeTransport(CallbackRealtimeTransport):
    """A caller who does what the test says.

    Attributes:
        calls: Every call, in order.
        sent_audio: ``(session id, audio)`` the caller was sent.
        sent_messages: ``(session id, message)`` likewise.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[MockCall] = []
        self.sent_audio: list[tuple[str, bytes]] = []
        self.sent_messages: list[tuple[str, dict[str, Any]]] = []
        self._connections: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """``MockRealtimeTransport``."""
        return "MockRealtimeTransport"

    def _note(self, method: str, **args: Any) -> None:
        self.calls.append(MockCall(method, args))

    async def accept(self, session: RealtimeSession, connection: Any) -> None:
        """Keep the connection."""
        self._note("accept", session_id=session.id)
        self._connections[session.id] = connection

    async def send_audio(self, session: RealtimeSession, audio: bytes) -> None:
        """Write down what was sent."""
        self._note("send_audio", session_id=session.id, size=len(audio))
        self.sent_audio.append((session.id, audio))

    async def send_message(self, session: RealtimeSession, message: dict[str, Any]) -> None:
        """Write down a message."""
        self._note("send_message", session_id=session.id, type=message.get("type"))
        self.sent_messages.append((session.id, message))

    async def disconnect(self, session: RealtimeSession) -> None:
        """Forget the connection."""
        self._note("disconnect", session_id=session.id)
        self._connections.pop(session.id, None)

    async def close(self) -> None:
        """Forget every connection."""
        self._note("close")
        self._connections.clear()

    async def simulate_client_audio(self, session: RealtimeSession, audio: bytes) -> None:
        """Let the caller say something."""
        await self._heard(session, audio)

    async def simulate_client_disconnect(self, session: RealtimeSession) -> None:
        """Let the caller leave."""
        self._connections.pop(session.id, None)
        await self._left(session)
