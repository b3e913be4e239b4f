"""What a hook may answer, and the one table of every trigger."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, Self

from pydantic import BaseModel, Field, SkipValidation, model_validator
from typing_extensions import TypeVar

from roomkit.models._copy import Shared, SharedDict, SharedList, changed
from roomkit.models.enums import HookExecution, HookTrigger
from roomkit.models.event import RoomEvent
from roomkit.models.task import Observation, Task

if TYPE_CHECKING:
    from collections.abc import Mapping

PayloadT = TypeVar("PayloadT", default=RoomEvent)


class InjectedEvent(BaseModel, defer_build=True):
    """An event to add to a room, delivered to just the channels named.

    Attributes:
        event: The event.
        target_channel_ids: Where it goes; None or empty: it is only stored.
    """

    event: RoomEvent
    target_channel_ids: list[str] | None = None

    def carrying(self, event: RoomEvent) -> InjectedEvent:
        """Return this injection with its event sanitised."""
        return self if event is self.event else changed(self, event=event)


class HookResult(BaseModel, Generic[PayloadT], defer_build=True):
    """A gate's decision, with whatever it wants done besides.

    Build one with ``allow``, ``block`` or ``modify``. For most triggers the payload is the
    RoomEvent; voice gates write ``HookResult[str]``.

    Attributes:
        action: ``allow``, ``block`` or ``modify``.
        event: With ``modify``, the payload that takes the place of the given one.
        reason: With ``block``, why.
        injected_events: Events stored after this one and delivered to the channels they name.
        tasks: What is to be done about it.
        observations: What was noticed.
        metadata: For whoever asked the gates; later gates win.

    Raises:
        ValidationError: ``modify`` without an event, ``block`` without a reason.
    """

    action: Literal["allow", "block", "modify"]
    event: Annotated[PayloadT | None, SkipValidation] = None
    reason: str | None = None
    injected_events: list[InjectedEvent] = Field(default_factory=list)
    tasks: list[Task] = Field(default_factory=list)
    observations: list[Observation] = Field(default_factory=list)
    metadata: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.action == "modify" and self.event is None:
            raise ValueError("a modify result needs the modified event")
        if self.action == "block" and self.reason is None:
            raise ValueError("a block result needs a reason")
        return self

    @staticmethod
    def allow(injected: list[InjectedEvent] | None = None) -> HookResult[Any]:
        """Let the event pass. Without arguments the result is shared and cannot be changed."""
        if injected is None:
            return _ALLOW
        return HookResult(action="allow", injected_events=injected)

    @staticmethod
    def block(
        reason: str,
        injected: list[InjectedEvent] | None = None,
        tasks: list[Task] | None = None,
        observations: list[Observation] | None = None,
    ) -> HookResult[Any]:
        """Stop the event; it is stored BLOCKED and reaches nobody."""
        return HookResult(
            action="block",
            reason=reason,
            injected_events=injected or [],
            tasks=tasks or [],
            observations=observations or [],
        )

    @staticmethod
    def modify(event: Any, injected: list[InjectedEvent] | None = None) -> HookResult[Any]:
        """Let another event (or text) pass in its place; its id, room and source stay."""
        return HookResult(action="modify", event=event, injected_events=injected or [])


class _AllowResult(Shared, HookResult):
    """The shared allow; nothing in it can be filled either."""


_ALLOW = _AllowResult.model_construct(
    action="allow",
    injected_events=SharedList(),
    tasks=SharedList(),
    observations=SharedList(),
    metadata=SharedDict(),
)


@dataclass(frozen=True, slots=True)
class HookSpec:
    """What a trigger hands to its hooks.

    Attributes:
        payload: ``event``, ``text``, ``session`` or ``voice_event``.
        executions: The executions that ever run for it.
        summary: When it fires, for the docs.
    """

    payload: Literal["event", "text", "session", "voice_event"]
    executions: frozenset[HookExecution]
    summary: str


_SYNC = frozenset({HookExecution.SYNC})
_ASYNC = frozenset({HookExecution.ASYNC})
_BOTH = _SYNC | _ASYNC
_T = HookTrigger

HOOK_SPECS: Mapping[str, HookSpec] = MappingProxyType(
    {
        _T.BEFORE_BROADCAST: HookSpec("event", _SYNC, "before an event is stored"),
        _T.AFTER_BROADCAST: HookSpec("event", _ASYNC, "after it and all answers were delivered"),
        _T.ON_CHANNEL_ATTACHED: HookSpec("event", _ASYNC, "a channel joined a room"),
        _T.ON_CHANNEL_DETACHED: HookSpec("event", _ASYNC, "a channel left a room"),
        _T.ON_CHANNEL_MUTED: HookSpec("event", _ASYNC, "a channel was muted"),
        _T.ON_CHANNEL_UNMUTED: HookSpec("event", _ASYNC, "a channel was unmuted"),
        _T.ON_ROOM_CREATED: HookSpec("event", _ASYNC, "a room was created"),
        _T.ON_ROOM_PAUSED: HookSpec("event", _ASYNC, "a room paused by its timer"),
        _T.ON_ROOM_CLOSED: HookSpec("event", _ASYNC, "a room closed, by hand or timer"),
        _T.ON_IDENTITY_AMBIGUOUS: HookSpec("event", _ASYNC, "a sender may be several people"),
        _T.ON_IDENTITY_UNKNOWN: HookSpec("event", _ASYNC, "a sender is nobody we know"),
        _T.ON_PARTICIPANT_IDENTIFIED: HookSpec("event", _ASYNC, "a participant was identified"),
        _T.ON_TASK_CREATED: HookSpec("event", _ASYNC, "a task was stored"),
        _T.ON_ERROR: HookSpec("event", _ASYNC, "foreign code failed and was contained"),
        _T.ON_DELIVERY_STATUS: HookSpec("event", _ASYNC, "a vendor reported on a sent message"),
        _T.ON_SPEECH_START: HookSpec("session", _ASYNC, "somebody started to speak"),
        _T.ON_SPEECH_END: HookSpec("session", _ASYNC, "somebody stopped speaking"),
        _T.ON_TRANSCRIPTION: HookSpec("text", _BOTH, "speech became text"),
        _T.BEFORE_TTS: HookSpec("text", _BOTH, "text is about to be spoken"),
        _T.AFTER_TTS: HookSpec("text", _ASYNC, "text was spoken"),
        _T.ON_BARGE_IN: HookSpec("voice_event", _ASYNC, "somebody spoke over the playback"),
        _T.ON_TTS_CANCELLED: HookSpec("voice_event", _ASYNC, "playback was stopped"),
        _T.ON_PARTIAL_TRANSCRIPTION: HookSpec("voice_event", _ASYNC, "speech so far"),
        _T.ON_VAD_SILENCE: HookSpec("voice_event", _ASYNC, "silence was heard"),
        _T.ON_VAD_AUDIO_LEVEL: HookSpec("voice_event", _ASYNC, "the loudness was measured"),
        _T.ON_SPEAKER_CHANGE: HookSpec("voice_event", _ASYNC, "another person speaks"),
        _T.ON_REALTIME_TOOL_CALL: HookSpec("voice_event", _BOTH, "a live model calls a tool"),
        _T.ON_REALTIME_TEXT_INJECTED: HookSpec("event", _ASYNC, "text entered a live session"),
        _T.ON_OBSERVATION: HookSpec("event", _ASYNC, "an observation was stored"),
        _T.ON_TURN_COMPLETE: HookSpec("voice_event", _ASYNC, "a spoken turn was over"),
        _T.ON_TURN_INCOMPLETE: HookSpec("voice_event", _ASYNC, "a spoken turn waits for more"),
        _T.ON_DTMF: HookSpec("voice_event", _ASYNC, "a telephone key was pressed"),
        _T.ON_RECORDING_STARTED: HookSpec("voice_event", _ASYNC, "a session is being recorded"),
        _T.ON_RECORDING_STOPPED: HookSpec("voice_event", _ASYNC, "a recording is there whole"),
    }
)
"""The only table of triggers: what each carries and which executions it runs."""
