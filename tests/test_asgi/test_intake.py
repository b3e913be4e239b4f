"""What webhooks hold on its way into the kit, where it takes time or fails half way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from roomkit import RoomKit
from roomkit._aio import TaskSet
from roomkit.asgi._intake import MAX_STATUSES, Intake, refusal_of
from roomkit.asgi._respond import Refused
from roomkit.exceptions import (
    ChannelNotRegisteredError,
    CommitOutcomeUnknown,
    EventRefusedError,
    InvalidInputError,
    KitClosedError,
    LockTimeoutError,
    ProviderError,
    StoreUnavailableError,
    WebhookError,
    WebhookRefused,
)
from roomkit.models.delivery import DeliveryStatus
from tests.support.kits import inbound
from tests.test_asgi._vendor import VendorChannel
from tests.test_asgi.test_webhooks import said


def delivered(message_id: str) -> DeliveryStatus:
    """Return a status."""
    return DeliveryStatus(provider="vendor", message_id=message_id, status="delivered")


class TestStatuses:
    """A vendor waits only so long for the program's handlers."""

    @pytest.fixture
    def gate(self, kit: RoomKit) -> asyncio.Event:
        """What the kit's handler of statuses waits for."""
        gate = asyncio.Event()

        @kit.on_delivery_status
        async def slow(status: Any) -> None:
            await gate.wait()

        return gate

    async def test_slow_handlers_go_on_after_the_answer(
        self, kit: RoomKit, gate: asyncio.Event
    ) -> None:
        """The time is for all statuses of a request together."""
        tasks = TaskSet("test")
        intake = Intake(kit, tasks, status_wait=0.05)
        async with asyncio.timeout(5):
            await intake.take([delivered(f"m{n}") for n in range(20)], b"", "sms")
        assert len(tasks) == 20
        gate.set()
        assert await tasks.wait(5)

    async def test_there_is_a_bound_to_what_goes_on(
        self, kit: RoomKit, gate: asyncio.Event
    ) -> None:
        """Past it vendors come again later."""
        tasks = TaskSet("test")
        intake = Intake(kit, tasks, status_wait=0)
        await intake.take([delivered(f"m{n}") for n in range(MAX_STATUSES)], b"", "sms")
        with pytest.raises(Refused) as refused:
            await intake.take([delivered("one more")], b"", "sms")
        assert refused.value.answer.status == 429
        gate.set()
        assert await tasks.wait(5)
        await intake.take([delivered("one more")], b"", "sms")


class TestMessages:
    """Every item gets its turn unless the kit itself is down."""

    async def test_a_channel_unregistered_meanwhile_is_404(self) -> None:
        """Nobody is left to take it."""
        async with RoomKit() as kit:
            with pytest.raises(Refused) as refused:
                await Intake(kit, TaskSet("test")).take([inbound()], b"", "sms")
        assert refused.value.answer.status == 404

    async def test_the_worst_of_several_failures_is_told(self, kit: RoomKit) -> None:
        """500 asks for a repeat, 400 does not; what can be kept is."""
        kit.register_channel(_Broken("broken"))
        items = [
            inbound("spoiled", "sms", idempotency_key="k" * 5000),
            inbound("broken", "broken"),
            inbound("kept", "sms"),
        ]
        with pytest.raises(Refused) as refused:
            await Intake(kit, TaskSet("test")).take(items, b"", "sms")
        assert refused.value.answer.status == 500
        assert await said(kit) == ["kept"]


class _Broken(VendorChannel):
    """A channel whose own code fails."""

    async def handle_inbound(self, message: Any, context: Any) -> Any:
        raise RuntimeError("a bug")


class TestAnswers:
    """One table says what each failure is answered with."""

    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (WebhookRefused("no"), 401),
            (WebhookRefused("no", status=403), 403),
            (WebhookError("what"), 400),
            (InvalidInputError("what"), 400),
            (ChannelNotRegisteredError("who"), 404),
            (EventRefusedError("overloaded", "r"), 429),
            (EventRefusedError("lease_lost", "r"), 503),
            (EventRefusedError("not_original_author", "r"), 500),
            (StoreUnavailableError("gone"), 503),
            (CommitOutcomeUnknown("perhaps"), 503),
            (KitClosedError("closed"), 503),
            (LockTimeoutError("busy"), 503),
            (TimeoutError(), 503),
            (ConnectionResetError(), 503),
            (ProviderError("keys", retryable=True), 503),
            (ProviderError("keys"), 500),
            (RuntimeError("a bug"), 500),
        ],
        ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
    )
    def test_the_table(self, error: Exception, status: int) -> None:
        """Only what may pass by itself says when to come again; no text goes out."""
        refusal = refusal_of(error)
        assert refusal.answer.status == status
        assert refusal.answer.body is None
        again = dict(refusal.answer.headers).get("retry-after")
        assert (again is not None) == (status in {429, 503})
