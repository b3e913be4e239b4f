"""What every provider must do at its vendor's simulator, whatever the vendor answers."""

from __future__ import annotations

import asyncio
import logging
import socket
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from roomkit.models.content import TextContent
from roomkit.simulators import cut, error, not_json, slow
from roomkit.testing import make_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roomkit.models.delivery import ProviderResult
    from roomkit.models.event import RoomEvent
    from roomkit.providers.base import Provider
    from roomkit.simulators import VendorSimulator

TEXT = "caf\u00e9 & cr\u00e8me + 50% \u2615"
STATUSES = (400, 401, 403, 404, 429, 500, 503)


class VendorSuite(ABC):
    """Inherit it, name the subclass ``Test...``, and say how to make the two ends."""

    recipient: ClassVar[str] = "+14155550100"
    """An address the vendor takes."""

    codes: ClassVar[dict[int, str]] = {}
    """What ``error`` says for a status, where it is not the general rule."""

    secrets: ClassVar[tuple[str, ...]] = ()
    """The secrets in the simulator's settings."""

    permanent: ClassVar[frozenset[int]] = frozenset({400, 401, 403, 404})
    """Statuses that are not tried again."""

    gives_wait: ClassVar[bool] = True
    """Whether the vendor says how long to wait after a 429."""

    tries: ClassVar[dict[int, int]] = {}
    """How often the provider itself asks after a status, where that is more than once."""

    unreadable_is_success: ClassVar[bool] = False
    """Whether a success needs no readable body."""

    @abstractmethod
    def make_simulator(self) -> VendorSimulator:
        """Return a new simulator, not started."""

    @abstractmethod
    def make_provider(self, settings: dict[str, Any]) -> Provider:
        """Return a provider of a config with these settings; one of them is ``timeout``."""

    def event(self, text: str = TEXT) -> RoomEvent:
        """Return something to send."""
        return make_event(content=TextContent(body=text))

    @pytest.fixture
    async def sim(self) -> AsyncIterator[VendorSimulator]:
        """The vendor."""
        async with self.make_simulator() as sim:
            yield sim

    @pytest.fixture
    async def provider(self, sim: VendorSimulator) -> AsyncIterator[Provider]:
        """The provider, at the vendor."""
        provider = self.make_provider({**sim.settings, "timeout": 5.0})
        yield provider
        await provider.close()

    async def test_a_text_arrives(self, sim: VendorSimulator, provider: Provider) -> None:
        """The vendor gets recipient and text as they are, and its id comes back."""
        result = await provider.send(self.event(), to=self.recipient)
        assert result.success, result.error
        assert result.error is None
        assert [m.text for m in sim.sent] == [TEXT]
        assert sim.sent[0].to.lstrip("+") == self.recipient.lstrip("+")
        assert result.provider_message_id == sim.sent[0].id

    async def test_many_at_once(self, sim: VendorSimulator, provider: Provider) -> None:
        """Twenty sends at once are twenty messages, each with an id of its own."""
        texts = [f"message {n}" for n in range(20)]
        results = await asyncio.gather(
            *(provider.send(self.event(text), to=self.recipient) for text in texts)
        )
        assert {r.provider_message_id for r in results} == {m.id for m in sim.sent}
        assert sorted(m.text for m in sim.sent) == sorted(texts)

    async def test_nothing_to_say(self, sim: VendorSimulator, provider: Provider) -> None:
        """An empty text is ``empty_message``, and the vendor is not asked."""
        result = await provider.send(self.event(""), to=self.recipient)
        assert (result.success, result.error) == (False, "empty_message")
        assert not sim.sent

    @pytest.mark.parametrize("status", STATUSES)
    async def test_a_refusal(self, sim: VendorSimulator, provider: Provider, status: int) -> None:
        """Every error status has its code, and says whether a repeat can help."""
        sim.script(*[error(status)] * self.tries.get(status, 1))
        result = await provider.send(self.event(), to=self.recipient)
        general = {400: "invalid_request", 401: "auth_error", 429: "rate_limit"}
        assert result.error == self.codes.get(status, general.get(status, f"http_{status}"))
        assert result.metadata["retryable"] is (status not in self.permanent)
        assert "ambiguous" not in result.metadata
        assert (await provider.send(self.event(), to=self.recipient)).success

    async def test_a_wait(self, sim: VendorSimulator, provider: Provider) -> None:
        """The time a vendor asks to wait is passed on."""
        sim.script(error(429, retry_after=7))
        result = await provider.send(self.event(), to=self.recipient)
        if self.gives_wait:
            assert result.metadata["retry_after"] == pytest.approx(7, abs=1.5)
        else:
            assert "retry_after" not in result.metadata

    async def test_no_answer_in_time(self, sim: VendorSimulator) -> None:
        """An answer that takes too long is ``timeout``, and the vendor may have accepted."""
        provider = self.make_provider({**sim.settings, "timeout": 0.2})
        sim.script(slow(30))
        result = await provider.send(self.event(), to=self.recipient)
        await provider.close()
        assert result.error == "timeout"
        assert result.metadata["ambiguous"] is True
        assert result.metadata["retryable"] is False

    async def test_half_an_answer(self, sim: VendorSimulator, provider: Provider) -> None:
        """A connection cut in the answer leaves open whether the vendor accepted."""
        sim.script(cut())
        result = await provider.send(self.event(), to=self.recipient)
        assert not result.success
        assert result.error
        assert result.metadata["ambiguous"] is True

    async def test_an_answer_that_is_none(self, sim: VendorSimulator, provider: Provider) -> None:
        """A success that cannot be read is never tried again by itself."""
        sim.script(not_json())
        result = await provider.send(self.event(), to=self.recipient)
        if self.unreadable_is_success:
            assert result.success
        else:
            assert result.error == "invalid_response"
            assert result.metadata["ambiguous"] is True
            assert result.metadata["retryable"] is False

    async def test_nobody_there(self, sim: VendorSimulator) -> None:
        """An error to connect has a text and may be tried again: nothing was sent."""
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            nobody = f"http://127.0.0.1:{sock.getsockname()[1]}"
            provider = self.make_provider({**sim.settings, "timeout": 5.0, "api_base": nobody})
            result = await provider.send(self.event(), to=self.recipient)
            await provider.close()
        assert not result.success
        assert result.error
        assert result.metadata["retryable"] is True
        assert "ambiguous" not in result.metadata

    async def test_cancellation_passes(self, sim: VendorSimulator, provider: Provider) -> None:
        """A cancelled send ends at once, and the provider goes on."""
        sim.script(slow(30))
        task = asyncio.create_task(self._send(provider))
        await sim.struck()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await provider.send(self.event(), to=self.recipient)).success

    async def test_no_secret_gets_out(
        self, sim: VendorSimulator, provider: Provider, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Whatever happens, results, representations and logs (DEBUG too) hold no secret."""
        assert self.secrets, "name the secrets"
        caplog.set_level(logging.DEBUG)
        sim.script(error(401), error(400), error(429), cut(), not_json())
        said = [repr(provider), repr(provider.__dict__.get("_config"))]
        answers = [await provider.send(self.event(), to=self.recipient) for _ in range(6)]
        said.extend(map(repr, answers))
        said.append(caplog.text)
        for secret in self.secrets:
            assert not any(secret in text for text in said)
        assert not any(
            TEXT in record.getMessage() for record in caplog.records if record.levelno > 10
        )

    async def test_closing_twice(self, sim: VendorSimulator) -> None:
        """Closing again does nothing."""
        provider = self.make_provider({**sim.settings, "timeout": 5.0})
        await provider.close()
        await provider.close()

    async def _send(self, provider: Provider) -> ProviderResult:
        return await provider.send(self.event(), to=self.recipient)
