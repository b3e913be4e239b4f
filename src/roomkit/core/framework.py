"""RoomKit: the orchestrator that ties rooms, channels, hooks and the store together."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Self

from roomkit._aio import TaskSet, close_all
from roomkit._clock import SystemClock
from roomkit.core._channel_ops import ChannelOpsMixin
from roomkit.core._delivery import Sender
from roomkit.core._helpers import FrameworkEventHandler, HelpersMixin, IdentityHookFn
from roomkit.core._hook_ops import HookOpsMixin
from roomkit.core._inbound import InboundMixin
from roomkit.core._realtime_ops import RealtimeOpsMixin
from roomkit.core._room_lifecycle import RoomLifecycleMixin
from roomkit.core._source_ops import SourceOpsMixin
from roomkit.core._voice_ops import VoiceOpsMixin
from roomkit.core._work_ops import WorkOpsMixin
from roomkit.core.hooks import HookEngine
from roomkit.core.inbound_router import DefaultInboundRoomRouter
from roomkit.core.locks import InMemoryLockManager
from roomkit.core.pipeline.admit import Gatekeeper
from roomkit.core.pipeline.context import Limits, Parts
from roomkit.core.pipeline.identify import Identifier
from roomkit.core.pipeline.rounds import Rounds
from roomkit.core.pipeline.runner import Pipeline
from roomkit.core.rate_limiter import TokenBucketRateLimiter
from roomkit.core.services.announcer import Announcer
from roomkit.core.services.bindings import Bindings
from roomkit.core.services.channel_desk import ChannelDesk
from roomkit.core.services.ephemeral import Ephemera
from roomkit.core.services.errors import ErrorReporter
from roomkit.core.services.framework_bus import FrameworkBus
from roomkit.core.services.guard import RoomGuard
from roomkit.core.services.hook_desk import HookDesk
from roomkit.core.services.host import EngineHost
from roomkit.core.services.lifecycle import Lifecycle
from roomkit.core.services.messages import Messages
from roomkit.core.services.participants import Participants
from roomkit.core.services.receipts import DeliveryStatusHandler, Receipts
from roomkit.core.services.registry import ChannelRegistry
from roomkit.core.services.room_desk import RoomDesk
from roomkit.core.services.rooms import Rooms
from roomkit.core.services.scope import own_task
from roomkit.core.services.shutdown import Shutdown
from roomkit.core.services.sources import Sources
from roomkit.core.services.streams import DeltaStreams
from roomkit.core.services.timeline import Timeline
from roomkit.core.services.voice_sessions import VoiceSessions
from roomkit.core.transcoder import DefaultContentTranscoder
from roomkit.exceptions import (
    ChannelNotFoundError,
    ChannelNotRegisteredError,
    IdentityNotFoundError,
    ParticipantNotFoundError,
    RoomKitError,
    RoomNotFoundError,
    SourceAlreadyAttachedError,
    SourceNotFoundError,
    VoiceBackendNotConfiguredError,
    VoiceNotConfiguredError,
)
from roomkit.realtime.memory import InMemoryRealtime
from roomkit.store.memory import InMemoryStore

if TYPE_CHECKING:
    from types import TracebackType

    from roomkit._clock import Clock
    from roomkit.core.inbound_router import InboundRoomRouter
    from roomkit.core.locks import RoomLockManager
    from roomkit.core.router import ContentTranscoder
    from roomkit.core.services.voice_sessions import AudioBackend, SpeechToText, TextToSpeech
    from roomkit.identity.base import IdentityResolver
    from roomkit.models.enums import ChannelType
    from roomkit.realtime.base import RealtimeBackend
    from roomkit.store.base import ConversationStore

logger: logging.Logger = logging.getLogger("roomkit.framework")

__all__ = [
    "ChannelNotFoundError",
    "ChannelNotRegisteredError",
    "DeliveryStatusHandler",
    "FrameworkEventHandler",
    "IdentityHookFn",
    "IdentityNotFoundError",
    "ParticipantNotFoundError",
    "RoomKit",
    "RoomKitError",
    "RoomNotFoundError",
    "SourceAlreadyAttachedError",
    "SourceNotFoundError",
    "VoiceBackendNotConfiguredError",
    "VoiceNotConfiguredError",
]


class RoomKit(
    InboundMixin,
    ChannelOpsMixin,
    RoomLifecycleMixin,
    HookOpsMixin,
    RealtimeOpsMixin,
    SourceOpsMixin,
    VoiceOpsMixin,
    WorkOpsMixin,
    HelpersMixin,
):
    """Conversations over many channels, in rooms.

    Making one needs no running event loop; it then serves the loop it is first used on.
    ``async with RoomKit() as kit`` starts it (see ``start``) and closes it at the end.

    Args:
        store: Where conversations are kept. Default: in memory.
        identity_resolver: Finds out who a sender is. Default: nobody asks.
        identity_channel_types: Only messages of these channels are looked up. Default: all.
        inbound_router: Chooses the room of a message. Default: DefaultInboundRoomRouter.
        lock_manager: Serialises what happens in a room. Default: in memory.
        realtime: Carries typing, presence and the like. Default: in memory.
        max_chain_depth: Answers to answers of this depth are stored BLOCKED.
        identity_timeout: Seconds for the resolver.
        process_timeout: Seconds from holding a room's lock to the end of the gates.
        stt: Speech to text, for ``transcribe``.
        tts: Text to speech, for ``synthesize``.
        voice: The backend of voice sessions.
        clock: Where time comes from. Default: the system.
        transcoder: Makes content fit a channel. Default: DefaultContentTranscoder.
        commit_timeout: Seconds for one commit.
        settle_timeout: Seconds ``process_inbound`` waits for deliveries.
        delivery_timeout: Seconds for one attempt to deliver.
        reaction_timeout: Seconds for a channel to react, an AI to answer.
        lock_timeout: Seconds to wait for a room's lock.
        lane_limit: Deliveries waiting for one channel of one room, past which new messages
            to the room wait and are then refused ``overloaded``.
        resume_paused_rooms: Whether a message wakes a paused room instead of opening a new
            one.
        timer_interval: Seconds between two looks for rooms whose silence has lasted long
            enough, once the kit is started; None: only ``check_all_timers`` looks.
    """

    def __init__(
        self,
        store: ConversationStore | None = None,
        identity_resolver: IdentityResolver | None = None,
        identity_channel_types: set[ChannelType] | None = None,
        inbound_router: InboundRoomRouter | None = None,
        lock_manager: RoomLockManager | None = None,
        realtime: RealtimeBackend | None = None,
        max_chain_depth: int = 5,
        identity_timeout: float = 10.0,
        process_timeout: float = 30.0,
        stt: SpeechToText | None = None,
        tts: TextToSpeech | None = None,
        voice: AudioBackend | None = None,
        *,
        clock: Clock | None = None,
        transcoder: ContentTranscoder | None = None,
        commit_timeout: float = 10.0,
        settle_timeout: float = 30.0,
        delivery_timeout: float = 30.0,
        reaction_timeout: float = 120.0,
        lock_timeout: float = 30.0,
        lane_limit: int = 1000,
        resume_paused_rooms: bool = False,
        timer_interval: float | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._store = store or InMemoryStore()
        self._realtime = realtime or InMemoryRealtime()
        self._hook_engine = HookEngine()
        limits = Limits(
            max_chain_depth,
            identity_timeout,
            process_timeout,
            commit_timeout,
            settle_timeout,
            lane=lane_limit,
        )
        sender = Sender(
            transcoder or DefaultContentTranscoder(),
            TokenBucketRateLimiter(clock=clock),
            clock=clock,
            delivery_timeout=delivery_timeout,
            reaction_timeout=reaction_timeout,
        )
        registry = ChannelRegistry()
        router = inbound_router or DefaultInboundRoomRouter(
            self._store,
            resume_paused_rooms=resume_paused_rooms,
            recipient_key_of=registry.recipient_key,
        )
        locks = lock_manager or InMemoryLockManager()
        _warn_of_local_locks(self._store, locks)
        guard = RoomGuard(locks, lock_timeout)
        parts = self._wire_parts(registry, router, guard, sender, limits)
        identifier = Identifier(parts, identity_resolver, identity_channel_types)
        self._wire_faces(parts, identifier, resume_paused_rooms, timer_interval)
        self._voice_sessions = self._wire_voice(parts, stt, tts, voice)

    def _wire_voice(
        self,
        parts: Parts,
        stt: SpeechToText | None,
        tts: TextToSpeech | None,
        voice: AudioBackend | None,
    ) -> VoiceSessions:
        rooms, bindings = self._room_desk.rooms, self._channel_desk.bindings
        return VoiceSessions(stt, tts, voice, parts.registry, rooms, bindings, parts.bus)

    def _wire_parts(
        self,
        registry: ChannelRegistry,
        router: InboundRoomRouter,
        guard: RoomGuard,
        sender: Sender,
        limits: Limits,
    ) -> Parts:
        """Build the collaborators every step shares."""
        store, clock, hooks = self._store, self._clock, self._hook_engine
        self._ephemera = Ephemera(self._realtime, clock)
        tasks = TaskSet("roomkit")
        bus = FrameworkBus(clock, tasks)
        errors = ErrorReporter(hooks, store, clock, tasks)
        return Parts(
            store=store,
            timeline=Timeline(store, clock, limits.commit),
            guard=guard,
            hooks=hooks,
            bus=bus,
            announcer=Announcer(hooks, bus, errors, store, tasks),
            errors=errors,
            registry=registry,
            router=router,
            sender=sender,
            streams=DeltaStreams(hooks, registry),
            ephemera=self._ephemera,
            clock=clock,
            tasks=tasks,
            limits=limits,
        )

    def _wire_faces(
        self,
        parts: Parts,
        identifier: Identifier,
        resume_paused: bool,
        timer_interval: float | None,
    ) -> None:
        """Build what the mixins are the faces of."""
        store, clock, bus = parts.store, parts.clock, parts.bus
        common = (store, parts.timeline, parts.guard, parts.announcer)
        rooms = Rooms(*common, parts.hooks, clock)
        bindings = Bindings(*common, parts.registry, rooms, clock)
        receipts = Receipts(
            store, parts.announcer, parts.errors, parts.timeline, clock, parts.guard
        )
        self._pipeline = Pipeline(
            parts,
            Gatekeeper(parts, identifier),
            identifier,
            rooms,
            receipts,
            resume_paused=resume_paused,
        )
        pipeline = self._pipeline
        if timer_interval is not None:
            pipeline.worker.add(Rounds("roomkit-timers", rooms.timer_round, timer_interval, clock))
        self._lifecycle = Lifecycle(store, lambda: not len(pipeline.lanes), pipeline.lease.begin)
        self._work = pipeline.desk
        self._messages = Messages(self._pipeline, rooms, bindings, receipts, clock)
        self._room_desk = RoomDesk(store, rooms, Participants(*common, clock))
        host = EngineHost(
            self.process_inbound,
            self.send_event,
            parts.hooks,
            store,
            bus,
            parts.streams,
            pipeline.write_records,
            self.publish_typing,
            parts.timeline,
            parts.guard,
        )
        self._channel_desk = ChannelDesk(parts.registry, bindings, parts.sender, bus, host)
        self._hook_desk = HookDesk(parts.hooks, identifier, bus, receipts)
        self._sources = Sources(
            self.process_inbound, bus, parts.errors, TaskSet("roomkit-source"), clock
        )
        self._shutdown = Shutdown(self._lifecycle, self._sources, self._pipeline, parts.tasks)

    def __repr__(self) -> str:
        return (
            f"RoomKit(store={type(self._store).__name__}, "
            f"channels={len(self._channel_desk.all())})"
        )

    @property
    def store(self) -> ConversationStore:
        """The store."""
        return self._store

    @property
    def hook_engine(self) -> HookEngine:
        """The hook engine."""
        return self._hook_engine

    @property
    def realtime(self) -> RealtimeBackend:
        """The backend of ephemeral events."""
        return self._realtime

    @property
    def stt(self) -> SpeechToText | None:
        """The speech-to-text provider."""
        return self._voice_sessions.stt

    @property
    def tts(self) -> TextToSpeech | None:
        """The text-to-speech provider."""
        return self._voice_sessions.tts

    @property
    def voice(self) -> AudioBackend | None:
        """The backend of voice sessions."""
        return self._voice_sessions.backend

    async def drain(self, timeout: float | None = None) -> bool:
        """Wait until every delivery, answer and report under way has ended.

        Args:
            timeout: Seconds; None for no bound.

        Returns:
            False when the time ran out first. Called from a hook or channel, it does not
            wait for the delivery that hook or channel is part of.
        """
        return await self._pipeline.drain(timeout, but=own_task())

    async def close(self, *, drain_timeout: float = 5.0) -> None:
        """Detach sources, let deliveries finish, close channels, voice and realtime.

        Everything gets its turn even when something fails; the first error is raised at the
        end. Closing again does nothing, unless closing was cancelled: then it goes on. The
        store is closed only if the kit opened it.

        Args:
            drain_timeout: Seconds deliveries under way may still take; then they are stopped.
        """
        if not self._shutdown.begin():
            return
        channels = self._channel_desk.all()
        closers: list[Any] = [channel.close for channel in channels]
        if self.voice is not None:
            closers.append(self.voice.close)
        closers.append(self._realtime.close)
        if self._lifecycle.opened:
            closers.append(self._store.close)
        try:
            await close_all(
                [
                    lambda: self._shutdown.stop_work(drain_timeout),
                    *(self._shutdown.timed(close) for close in closers),
                ]
            )
        except asyncio.CancelledError:
            self._shutdown.interrupted()
            raise

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


def _warn_of_local_locks(store: ConversationStore, locks: RoomLockManager) -> None:
    if store.shared and isinstance(locks, InMemoryLockManager):
        logger.warning(
            "%s is shared between machines but the lock manager is not: nothing is lost or "
            "doubled, yet gates of one room may run at the same time in two processes; give "
            "RoomKit a RedisLockManager or a PostgresLockManager",
            type(store).__name__,
        )
