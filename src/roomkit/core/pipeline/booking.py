"""Booking: the delivery records a commit plans, and which of them this process begins.

Only where a store keeps records. What the commit did not get for this process (its lane is
another's, or waits for a retry) and what came for a lane that was left meanwhile stays in its
record; whoever claims the lane goes on with it, in order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.models.enums import ChannelCategory
from roomkit.store.commit import DeliveryKind, DeliveryPlan, delivery_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from roomkit.core.pipeline.lanes import Flight, Lanes
    from roomkit.core.pipeline.lease import Lease
    from roomkit.core.pipeline.record import Recorder
    from roomkit.core.services.registry import ChannelRegistry
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.event import RoomEvent
    from roomkit.store.commit import CommitResult
    from roomkit.store.durable import LaneKey

_REACT = frozenset({DeliveryKind.REACT})
_DELIVER = frozenset({DeliveryKind.DELIVER})
_BOTH = _REACT | _DELIVER
_NONE: frozenset[DeliveryKind] = frozenset()


class Booking:
    """The planned deliveries of one commit.

    Attributes:
        plans: Their records.
        owner: The worker they are claimed for; None while this process may not begin any.
    """

    __slots__ = ("_desk", "_flight", "_kinds", "owner", "plans")

    def __init__(self, desk: BookingDesk, flight: Flight) -> None:
        self._desk = desk
        self._flight = flight
        self._kinds: dict[tuple[str, str], frozenset[DeliveryKind]] = {}
        self.owner: str | None = flight.owner
        self.plans: list[DeliveryPlan] = []

    def plan(self, event: RoomEvent, binding: ChannelBinding, *, direct: bool) -> None:
        """Plan the delivery of an event to one target."""
        channel_id = binding.channel_id
        kinds, claim = self._desk.kinds(event.room_id, binding)
        if not kinds or (event.id, channel_id) in self._kinds:
            return
        self._kinds[event.id, channel_id] = kinds
        for kind in _IN_ORDER:
            if kind in kinds:
                record = delivery_id(event.id, channel_id, kind)
                self.plans.append(DeliveryPlan(record, event.id, channel_id, kind, direct, claim))

    def settle(self, room_id: str, result: CommitResult) -> None:
        """Look after the lanes the commit wanted and did not get."""
        if result.left:
            wanted = {
                (room_id, p.channel_id) for p in self.plans if p.claim and p.id in result.left
            }
            if wanted:
                self._desk.left(wanted)

    def begins(
        self, event: RoomEvent, channel_id: str, result: CommitResult
    ) -> frozenset[DeliveryKind]:
        """Return what this process does at once for a target; nothing: its record waits."""
        kinds = self._kinds.get((event.id, channel_id), _NONE)
        for kind in kinds:
            if self.owner is None or delivery_id(event.id, channel_id, kind) in result.left:
                return _NONE
            if not self._desk.begins(event, channel_id, kind, self._flight):
                return _NONE
        return kinds


_IN_ORDER = (DeliveryKind.REACT, DeliveryKind.DELIVER)


class BookingDesk:
    """Makes bookings.

    Args:
        lanes: Which of them take entries.
        lease: Whether this process may begin deliveries.
        recorder: Gives back what was claimed in vain.
        registry: The channels this process has.

    Attributes:
        left: Called with the lanes a commit wanted and did not get.
    """

    def __init__(
        self, lanes: Lanes, lease: Lease, recorder: Recorder, registry: ChannelRegistry
    ) -> None:
        self._lanes = lanes
        self._lease = lease
        self._recorder = recorder
        self._registry = registry
        self.left: Callable[[set[LaneKey]], None] = _nothing

    def open(self) -> Booking | None:
        """Return the booking of a commit that is about to begin; None without records."""
        if self._lease.queue is None:
            return None
        owner = self._lease.owner if self._lease.held else None
        return Booking(self, self._lanes.depart(owner))

    def kinds(self, room_id: str, binding: ChannelBinding) -> tuple[frozenset[DeliveryKind], bool]:
        """Return what is to be done for a target, and whether this process could do it now."""
        channel = self._registry.channels.get(binding.channel_id)
        if channel is None:
            # Another process may have it: it is told by the category what the channel does.
            reacts = binding.category == ChannelCategory.INTELLIGENCE
        else:
            reacts = channel.reacts
        if binding.category == ChannelCategory.TRANSPORT:
            kinds = _BOTH if reacts else _DELIVER
        else:
            kinds = _REACT if reacts else _NONE
        return kinds, channel is not None and self._lanes.open_to((room_id, binding.channel_id))

    def begins(
        self, event: RoomEvent, channel_id: str, kind: DeliveryKind, flight: Flight
    ) -> bool:
        """Return whether a delivery that was claimed may enter its lane."""
        if flight.owner != self._lease.owner:
            return False  # given up with the id it was claimed for
        key = (event.room_id, channel_id)
        if key not in flight.left:
            return True
        if flight.owner is not None:
            self._recorder.give_back(key, event.id, kind, flight.owner)
            self._recorder.arm()
        return False


def _nothing(_lanes: set[LaneKey]) -> None:
    """Do nothing."""
