"""Every closed set of words the models use. Each is a StrEnum, so plain strings compare."""

from __future__ import annotations

from enum import StrEnum, unique


@unique
class ChannelType(StrEnum):
    """What a channel speaks.

    Attributes:
        SMS: Text messages of a phone.
        MMS: The same with pictures or files; what an SMS channel marks a message with media as.
        RCS: Rich messages of a phone.
        EMAIL: Mail.
        WHATSAPP: WhatsApp over the vendor's business API.
        WHATSAPP_PERSONAL: WhatsApp over a linked personal account.
        WEBSOCKET: Browsers and apps that hold a connection.
        AI: A language model.
        VOICE: Calls, with speech turned into text and back.
        REALTIME_VOICE: Calls with a model that hears and speaks itself.
        PUSH: Notifications; for channels of your own.
        MESSENGER: Facebook Messenger.
        TEAMS: Microsoft Teams.
        WEBHOOK: Another program, over HTTP.
        SYSTEM: The engine itself, as the source of its notices.
    """

    SMS = "sms"
    MMS = "mms"
    RCS = "rcs"
    EMAIL = "email"
    WHATSAPP = "whatsapp"
    WHATSAPP_PERSONAL = "whatsapp_personal"
    WEBSOCKET = "websocket"
    AI = "ai"
    VOICE = "voice"
    REALTIME_VOICE = "realtime_voice"
    PUSH = "push"
    MESSENGER = "messenger"
    TEAMS = "teams"
    WEBHOOK = "webhook"
    SYSTEM = "system"


@unique
class ChannelCategory(StrEnum):
    """Whether a channel carries messages to people or thinks about them.

    Attributes:
        TRANSPORT: It carries messages to people or programs.
        INTELLIGENCE: It answers by itself, as a model does.
    """

    TRANSPORT = "transport"
    INTELLIGENCE = "intelligence"


@unique
class ChannelDirection(StrEnum):
    """Which way messages flow through a channel, seen from the room.

    Attributes:
        INBOUND: From outside into the room.
        OUTBOUND: Out of the room. As the source of an event: a channel's own answer.
        BIDIRECTIONAL: Both ways.
    """

    INBOUND = "inbound"
    OUTBOUND = "outbound"
    BIDIRECTIONAL = "bidirectional"


@unique
class ChannelMediaType(StrEnum):
    """Kinds of content a channel can carry as they are.

    Attributes:
        TEXT: Plain text.
        RICH: Formatted text with buttons, cards or quick replies.
        MEDIA: Pictures, documents and other files.
        AUDIO: A recording or voice message.
        VIDEO: A film.
        LOCATION: A place on the map.
        TEMPLATE: A text the vendor has approved, with gaps to fill.
    """

    TEXT = "text"
    RICH = "rich"
    MEDIA = "media"
    AUDIO = "audio"
    VIDEO = "video"
    LOCATION = "location"
    TEMPLATE = "template"


@unique
class EventType(StrEnum):
    """What a room event is about.

    Attributes:
        MESSAGE: Something that was said.
        SYSTEM: A notice of the engine, such as a new room.
        TYPING: Somebody writes.
        READ_RECEIPT: Somebody has read up to an event.
        DELIVERY_RECEIPT: A vendor reports on a message it was given.
        PRESENCE: Somebody came, went or is away.
        REACTION: Somebody reacts to an event.
        EDIT: An earlier message gets another content.
        DELETE: An earlier message is taken back.
        PARTICIPANT_JOINED: Somebody takes part from now on.
        PARTICIPANT_LEFT: Somebody takes part no longer.
        PARTICIPANT_IDENTIFIED: It is known who a participant is.
        CHANNEL_ATTACHED: A channel joined the room.
        CHANNEL_DETACHED: A channel left the room.
        CHANNEL_MUTED: What a channel says is suppressed from now on.
        CHANNEL_UNMUTED: What a channel says is heard again.
        CHANNEL_UPDATED: A binding's access, visibility or metadata changed.
        TASK_CREATED: A task was stored.
        OBSERVATION: An observation was stored.
    """

    MESSAGE = "message"
    SYSTEM = "system"
    TYPING = "typing"
    READ_RECEIPT = "read_receipt"
    DELIVERY_RECEIPT = "delivery_receipt"
    PRESENCE = "presence"
    REACTION = "reaction"
    EDIT = "edit"
    DELETE = "delete"
    PARTICIPANT_JOINED = "participant_joined"
    PARTICIPANT_LEFT = "participant_left"
    PARTICIPANT_IDENTIFIED = "participant_identified"
    CHANNEL_ATTACHED = "channel_attached"
    CHANNEL_DETACHED = "channel_detached"
    CHANNEL_MUTED = "channel_muted"
    CHANNEL_UNMUTED = "channel_unmuted"
    CHANNEL_UPDATED = "channel_updated"
    TASK_CREATED = "task_created"
    OBSERVATION = "observation"


@unique
class DeleteType(StrEnum):
    """Who takes a message back.

    Attributes:
        SENDER: Whoever wrote it.
        SYSTEM: The program.
        ADMIN: A moderator; nothing is asked about who wrote it.
    """

    SENDER = "sender"
    SYSTEM = "system"
    ADMIN = "admin"


@unique
class EventStatus(StrEnum):
    """Where a stored event stands.

    Attributes:
        PENDING: Not committed yet.
        DELIVERED: Committed; ``delivery_results`` says how each delivery went.
        READ: Read; for programs that keep it.
        FAILED: It could not be dealt with; for programs that keep it.
        BLOCKED: A gate refused it: stored, and shown to nobody.
    """

    PENDING = "pending"
    DELIVERED = "delivered"
    READ = "read"
    FAILED = "failed"
    BLOCKED = "blocked"


@unique
class Access(StrEnum):
    """What a channel may do in a room.

    Attributes:
        READ_WRITE: It is heard and gets what others say.
        READ_ONLY: It gets what others say; what it says is suppressed.
        WRITE_ONLY: It is heard and gets nothing.
        NONE: Neither.
    """

    READ_WRITE = "read_write"
    READ_ONLY = "read_only"
    WRITE_ONLY = "write_only"
    NONE = "none"


@unique
class IdentificationStatus(StrEnum):
    """How sure we are who somebody is.

    Attributes:
        IDENTIFIED: It is known who they are.
        PENDING: It is being found out.
        AMBIGUOUS: They may be one of several people.
        UNKNOWN: Nobody known has this address.
        CHALLENGE_SENT: They were asked who they are.
        REJECTED: They are not let in.
    """

    IDENTIFIED = "identified"
    PENDING = "pending"
    AMBIGUOUS = "ambiguous"
    UNKNOWN = "unknown"
    CHALLENGE_SENT = "challenge_sent"
    REJECTED = "rejected"


@unique
class ParticipantRole(StrEnum):
    """What a participant is in a room.

    Attributes:
        OWNER: Whose room it is.
        AGENT: Somebody who helps, of your side.
        MEMBER: Somebody who takes part.
        OBSERVER: Somebody who only looks on.
        BOT: A program.
    """

    OWNER = "owner"
    AGENT = "agent"
    MEMBER = "member"
    OBSERVER = "observer"
    BOT = "bot"


@unique
class ParticipantStatus(StrEnum):
    """Whether a participant is still there.

    Attributes:
        ACTIVE: Takes part.
        INACTIVE: Takes part, and is quiet.
        LEFT: Takes part no longer.
        BANNED: Was shown the door; the WebSocket endpoint lets them in no more.
    """

    ACTIVE = "active"
    INACTIVE = "inactive"
    LEFT = "left"
    BANNED = "banned"


@unique
class TaskStatus(StrEnum):
    """How far a task has come.

    Attributes:
        PENDING: Nobody has begun.
        IN_PROGRESS: Somebody is at it.
        COMPLETED: Done.
        FAILED: Tried in vain.
        CANCELLED: No longer wanted.
    """

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@unique
class RoomStatus(StrEnum):
    """The life of a room; the moves are in ``roomkit.models.room.ROOM_TRANSITIONS``.

    Attributes:
        ACTIVE: Messages come and go.
        PAUSED: Quiet for as long as its timer allows.
        CLOSED: It refuses messages; it can be opened again.
        ARCHIVED: It refuses messages, and is kept for the record.
    """

    ACTIVE = "active"
    PAUSED = "paused"
    CLOSED = "closed"
    ARCHIVED = "archived"


@unique
class DeliveryMode(StrEnum):
    """Which of a room's channels an event is delivered to.

    Attributes:
        BROADCAST: Every event.
        DIRECT: Events that name it in ``metadata["target_channel_ids"]``, and answers to what it
            said.
        ROUND_ROBIN: The channels of this mode take turns.
    """

    BROADCAST = "broadcast"
    DIRECT = "direct"
    ROUND_ROBIN = "round_robin"


@unique
class HookTrigger(StrEnum):
    """The moments a hook can be registered for; see ``roomkit.models.hook.HOOK_SPECS``.

    Attributes:
        BEFORE_BROADCAST: Before an event is stored; the one gate of text messages.
        AFTER_BROADCAST: After it and all answers were delivered.
        ON_CHANNEL_ATTACHED: A channel joined a room.
        ON_CHANNEL_DETACHED: A channel left a room.
        ON_CHANNEL_MUTED: A channel was muted.
        ON_CHANNEL_UNMUTED: A channel was unmuted.
        ON_ROOM_CREATED: A room was created.
        ON_ROOM_PAUSED: A room paused by its timer.
        ON_ROOM_CLOSED: A room closed, by hand or timer.
        ON_IDENTITY_AMBIGUOUS: A sender may be several people.
        ON_IDENTITY_UNKNOWN: A sender is nobody we know.
        ON_PARTICIPANT_IDENTIFIED: A participant was identified.
        ON_TASK_CREATED: A task was stored.
        ON_ERROR: Foreign code failed and was contained.
        ON_DELIVERY_STATUS: A vendor reported on a sent message.
        ON_SPEECH_START: Somebody started to speak.
        ON_SPEECH_END: Somebody stopped speaking.
        ON_TRANSCRIPTION: Speech became text.
        BEFORE_TTS: Text is about to be spoken.
        AFTER_TTS: Text was spoken.
        ON_BARGE_IN: Somebody spoke over the playback.
        ON_TTS_CANCELLED: Playback was stopped.
        ON_PARTIAL_TRANSCRIPTION: Speech so far.
        ON_VAD_SILENCE: Silence was heard.
        ON_VAD_AUDIO_LEVEL: The loudness was measured.
        ON_SPEAKER_CHANGE: Another person speaks.
        ON_REALTIME_TOOL_CALL: A live model calls a tool.
        ON_REALTIME_TEXT_INJECTED: Text entered a live session.
        ON_OBSERVATION: An observation was stored.
        ON_TURN_COMPLETE: A spoken turn was over.
        ON_TURN_INCOMPLETE: A spoken turn waits for more.
        ON_DTMF: A telephone key was pressed.
        ON_RECORDING_STARTED: A session is being recorded.
        ON_RECORDING_STOPPED: A recording is there whole.
    """

    BEFORE_BROADCAST = "before_broadcast"
    AFTER_BROADCAST = "after_broadcast"
    ON_CHANNEL_ATTACHED = "on_channel_attached"
    ON_CHANNEL_DETACHED = "on_channel_detached"
    ON_CHANNEL_MUTED = "on_channel_muted"
    ON_CHANNEL_UNMUTED = "on_channel_unmuted"
    ON_ROOM_CREATED = "on_room_created"
    ON_ROOM_PAUSED = "on_room_paused"
    ON_ROOM_CLOSED = "on_room_closed"
    ON_IDENTITY_AMBIGUOUS = "on_identity_ambiguous"
    ON_IDENTITY_UNKNOWN = "on_identity_unknown"
    ON_PARTICIPANT_IDENTIFIED = "on_participant_identified"
    ON_TASK_CREATED = "on_task_created"
    ON_ERROR = "on_error"
    ON_DELIVERY_STATUS = "on_delivery_status"
    ON_SPEECH_START = "on_speech_start"
    ON_SPEECH_END = "on_speech_end"
    ON_TRANSCRIPTION = "on_transcription"
    BEFORE_TTS = "before_tts"
    AFTER_TTS = "after_tts"
    ON_BARGE_IN = "on_barge_in"
    ON_TTS_CANCELLED = "on_tts_cancelled"
    ON_PARTIAL_TRANSCRIPTION = "on_partial_transcription"
    ON_VAD_SILENCE = "on_vad_silence"
    ON_VAD_AUDIO_LEVEL = "on_vad_audio_level"
    ON_SPEAKER_CHANGE = "on_speaker_change"
    ON_REALTIME_TOOL_CALL = "on_realtime_tool_call"
    ON_REALTIME_TEXT_INJECTED = "on_realtime_text_injected"
    ON_OBSERVATION = "on_observation"
    ON_TURN_COMPLETE = "on_turn_complete"
    ON_TURN_INCOMPLETE = "on_turn_incomplete"
    ON_DTMF = "on_dtmf"
    ON_RECORDING_STARTED = "on_recording_started"
    ON_RECORDING_STOPPED = "on_recording_stopped"


@unique
class HookExecution(StrEnum):
    """``sync``: a gate, which decides. ``async``: an observer, which only watches.

    Attributes:
        SYNC: A gate: runs before the fact, one after the other, and may block or change it.
        ASYNC: An observer: runs after the fact, and its answer is ignored.
    """

    SYNC = "sync"
    ASYNC = "async"
