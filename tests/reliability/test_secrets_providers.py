"""T12: secrets of providers and sources stay where they are, whatever goes wrong.

Every secret of every config is a canary. All ways to fail are walked with DEBUG logs on; then
logs, representations, results, errors, framework events, stored events and what was said in the
room are searched.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import pkgutil
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any, get_args

import httpx
import pytest
from pydantic import BaseModel, SecretStr, ValidationError

from roomkit import (
    EventType,
    HookExecution,
    HookTrigger,
    Room,
    RoomContext,
    RoomKit,
    Signal,
    TextContent,
)
from roomkit import providers as all_providers
from roomkit import simulators as sims
from roomkit.asgi import create_app
from roomkit.exceptions import ProviderError
from roomkit.providers.webhook import WebhookRequest
from roomkit.simulators import cut, error, not_json, slow
from roomkit.testing import SimpleChannel, make_binding, make_event
from tests.reliability._vendors import VENDORS, Vendor, canary
from tests.support.kits import ROOM, Ears, texts
from tests.test_asgi.test_server import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

from tests.reliability._evidence import SAID, Evidence, evidence, nobody

__all__ = ["evidence"]

_KEY = canary("model")

every = pytest.mark.parametrize("vendor", VENDORS, ids=str)


class Scene:
    """A kit with a vendor's channel, a desk that hears the room, and open ears.

    Args:
        vendor: The vendor.
        provider: Its provider.
        evidence: Where everything goes.
    """

    def __init__(self, vendor: Vendor, provider: Any, evidence: Evidence) -> None:
        self.kit = RoomKit()
        self.ears = Ears(self.kit)
        self.desk = SimpleChannel("desk")
        self.vendor = vendor
        self.channel = vendor.channel("ch", provider=provider)
        self.evidence = evidence
        self.kit.register_channel(self.channel)
        self.kit.register_channel(self.desk)

        @self.kit.hook(HookTrigger.ON_ERROR, HookExecution.ASYNC)
        async def note(event: Any, context: Any) -> None:
            evidence.add(event)

    async def open(self) -> None:
        """Open the room."""
        await self.kit.create_room(ROOM)
        await self.kit.attach_channel(ROOM, "desk")
        await self.kit.attach_channel(
            ROOM, "ch", metadata={self.vendor.key: self.vendor.recipient}
        )

    async def say(self, count: int) -> None:
        """Let the desk say something so many times."""
        for _ in range(count):
            await self.kit.send_event(ROOM, "desk", TextContent(body=SAID))

    async def end(self) -> None:
        """Close the kit; keep what it knows."""
        await self.kit.drain(5)
        for room in await self.kit.store.list_rooms():
            self.evidence.add(room, *(await self.kit.get_timeline(room.id, limit=500)))
        self.evidence.add(*self.desk.delivered, *self.ears.heard, await self.kit.stats())
        self.evidence.add(self.kit, self.channel, self.channel.webhook())
        await self.kit.close()


class TestSending:
    """Every way a vendor fails a message."""

    FAILURES = (error(401), error(400), error(429, retry_after=60), error(503))
    CUTS = (cut(), not_json(), slow(30))
    PLANS = (((*FAILURES, cut(), not_json()), {}), ((slow(30),), {"timeout": 0.2}))

    @every
    async def test_in_a_room(self, vendor: Vendor, evidence: Evidence) -> None:
        """Refused, throttled, down, cut, unreadable, late, not there."""
        async with vendor.simulate() as sim:
            for steps, options in (
                (self.FAILURES, {"timeout": 5.0}),
                (self.CUTS, {"timeout": 0.2}),
                ((), {"timeout": 5.0, "api_base": nobody()}),
            ):
                config = vendor.config(**vendor.settings(sim, **options))
                await _meet(vendor, sim)
                sim.script(*steps)
                room = Scene(vendor, vendor.make(config), evidence)
                await room.open()
                await room.say(max(1, len(steps)))
                evidence.texts += [repr(config), str(config)]
                await room.end()
                expected = max(1, len(steps))
                if not_json() in steps and vendor.unreadable_is_success:
                    expected -= 1
                failed = room.ears.of("delivery_failed")
                assert len(failed) == expected, "a failure did not happen"
                sim.reset()
        evidence.check(vendor.canaries, (SAID, vendor.recipient))

    @every
    async def test_results_and_errors(self, vendor: Vendor, evidence: Evidence) -> None:
        """What the provider answers, and what its channel raises, causes included."""
        async with vendor.simulate() as sim:
            for steps, options in self.PLANS:
                provider = vendor.make(vendor.config(**vendor.settings(sim, **options)))
                await _meet(vendor, sim)
                for step in steps:
                    sim.script(step, step)
                    await self.fail(vendor, provider, step, evidence)
                evidence.add(provider, vars(provider).get("_client"))
                await provider.close()
            nowhere = vendor.settings(sim, api_base=nobody())
            provider = vendor.make(vendor.config(**nowhere))
            await self.fail(vendor, provider, None, evidence)
            await provider.close()
        evidence.check(vendor.canaries, (SAID, vendor.recipient))

    async def fail(self, vendor: Vendor, provider: Any, step: Any, evidence: Evidence) -> None:
        """Send twice: by the provider itself, and by its channel."""
        event = make_event(content=TextContent(body=SAID))
        fine = step == not_json() and vendor.unreadable_is_success
        result = await provider.send(event, to=vendor.recipient)
        assert result.success is fine
        evidence.add(result)
        channel = vendor.channel("ch", provider=provider)
        binding = make_binding("ch", metadata={vendor.key: vendor.recipient})
        try:
            await channel.deliver(event, binding, RoomContext(room=Room(id=ROOM)))
        except ProviderError as exc:
            evidence.add(exc)
        else:
            assert fine

    @pytest.mark.parametrize("name", ["sendgrid", "elasticemail", "http"])
    async def test_a_vendor_that_quotes(self, name: str, evidence: Evidence) -> None:
        """A refusal whose text repeats the address stays out of the logs above DEBUG."""
        vendor = next(one for one in VENDORS if one.name == name)
        async with vendor.simulate() as sim:
            sim.script(error(400, code=f"{vendor.recipient} said {SAID!r}, which is not allowed"))
            config = vendor.config(**vendor.settings(sim))
            room = Scene(vendor, vendor.make(config), evidence)
            await room.open()
            await room.say(1)
            await room.end()
            assert room.ears.of("delivery_failed")
        evidence.check(vendor.canaries, (SAID, vendor.recipient))

    @pytest.mark.parametrize("style", ["query", "header"])
    async def test_messengers_token_in_a_query(self, style: str, evidence: Evidence) -> None:
        """The older way puts the token into the URL, which HTTP libraries like to log."""
        vendor = next(one for one in VENDORS if one.name == "messenger")
        async with vendor.simulate() as sim:
            for step in (error(400), cut(), not_json()):
                sim.script(step)
                config = vendor.config(**vendor.settings(sim, auth_style=style))
                room = Scene(vendor, vendor.make(config), evidence)
                await room.open()
                await room.say(1)
                await room.end()
                assert sim.requests
        evidence.check(vendor.canaries)


async def _meet(vendor: Vendor, sim: Any) -> None:
    """Let a bot of Teams have been in the conversation."""
    if vendor.name == "teams":
        sim.conversations.add(vendor.recipient)


class TestHearing:
    """What comes in, believed or not."""

    @pytest.mark.parametrize("vendor", [v for v in VENDORS if v.hears], ids=str)
    async def test_webhooks(self, vendor: Vendor, evidence: Evidence) -> None:
        """Good, unsigned, badly signed, malformed, a challenge with the word and without."""
        token = canary("url")
        async with AsyncExitStack() as stack:
            sim = await stack.enter_async_context(vendor.simulate())
            provider = _provider_that_hears(vendor, sim)
            room = Scene(vendor, provider, evidence)
            await room.open()
            unsigned = {} if room.channel.webhook().signed else {"ch": token}
            app = create_app(room.kit, unsigned=unsigned)
            evidence.add(app)
            port = await stack.enter_async_context(serving(app))
            url = f"http://127.0.0.1:{port}/webhooks/ch"
            good = f"{url}?token={token}" if unsigned else url
            said: dict[str, Any] = {"text": SAID}
            if vendor.name == "telnyx-rcs":
                said["rcs"] = {"agent": SAID}
            elif vendor.name == "twilio-rcs":
                said["rcs"] = True
            assert (await sim.receive(good, **said)).status == 200
            raw = f'{{"no": "{SAID}"'.encode()
            [kind, *_] = room.channel.webhook().content_types or ["application/json"]
            spoilt = {"nobody": 1} if vendor.name == "teams" else raw
            answers = [await sim.receive(good, raw=spoilt)]
            for body in (raw, b"", SAID.encode() * 1000):
                headers = {"content-type": kind, "authorization": f"Bearer {SAID}"}
                answers += [
                    await sim.post(wrong, body, headers)
                    for wrong in (f"{url}?token={token[:-1]}x", url)
                ]
            query = f"hub.mode=subscribe&hub.challenge=7&hub.verify_token={canary('verify')}"
            answers.append(await sim.post(f"{url}?{query}", b"", {}, method="GET"))
            answers.append(await sim.post(f"{url}?{query}x", b"", {}, method="GET"))
            evidence.add(*answers)
            assert 401 in {answer.status for answer in answers}
            assert not {500, 503} & {answer.status for answer in answers}
            assert SAID in await heard_in(room.kit)
            await room.end()
        evidence.check((*vendor.canaries, token), (SAID, vendor.recipient.lstrip("+")))

    @every
    async def test_what_readers_give(self, vendor: Vendor, evidence: Evidence) -> None:
        """Requests, statuses and signals show neither text, nor address, nor secret."""
        words = {"body": SAID, "text": SAID}
        request = WebhookRequest(
            method="POST",
            url=f"https://hooks.example/ch?token={canary('url')}",
            headers={"authorization": canary("header"), "x-said": SAID},
            query={"token": canary("url")},
            body=f"{SAID} {words}".encode(),
            channel_id="ch",
        )
        signal = Signal(
            channel_id="ch",
            type=EventType.EDIT,
            sender_id=vendor.recipient,
            content=TextContent(body=SAID),
            metadata=words,
        )
        for text in (repr(request), repr(signal), repr([request, signal])):
            assert SAID not in text
            assert vendor.recipient not in text
            assert "canary-" not in text


async def heard_in(kit: RoomKit) -> list[str]:
    """Return what was said in all rooms."""
    rooms = await kit.store.list_rooms()
    return [word for room in rooms for word in texts(await kit.get_timeline(room.id, limit=100))]


def _provider_that_hears(vendor: Vendor, sim: Any) -> Any:
    """Return the provider of a vendor, with the public key where there is one."""
    config = vendor.config(**vendor.settings(sim))
    if vendor.name.startswith("telnyx"):
        return vendor.make(config, sim.public_key)
    if vendor.name == "sendgrid":
        config = vendor.config(**vendor.settings(sim), inbound_public_key=sim.public_key)
    return vendor.make(config)


def _configs() -> Iterator[type[BaseModel]]:
    for info in pkgutil.iter_modules(all_providers.__path__):
        with suppress(ModuleNotFoundError):
            module = importlib.import_module(f"{all_providers.__name__}.{info.name}.config")
            for one in vars(module).values():
                if isinstance(one, type) and issubclass(one, BaseModel) and one is not BaseModel:
                    yield one


def _is_secret(annotation: Any) -> bool:
    return annotation is SecretStr or any(map(_is_secret, get_args(annotation)))


CONFIGS = sorted(set(_configs()), key=lambda one: one.__name__)


class TestConfigs:
    """A mistake in a config is told without the secrets beside it."""

    def test_there_are_configs(self) -> None:
        """The walk finds them, and the table has a canary for each secret of a vendor."""
        assert len(CONFIGS) >= 15
        for vendor in VENDORS:
            assert vendor.canaries

    @pytest.mark.parametrize("config", CONFIGS, ids=lambda one: one.__name__)
    def test_a_mistake(self, config: type[BaseModel]) -> None:
        """A missing field, or one of the wrong type: the error's text quotes no secret."""
        fields = config.model_fields
        secrets = {name for name, field in fields.items() if _is_secret(field.annotation)}
        given: dict[str, Any] = {name: _given(fields[name].annotation, name) for name in secrets}
        strange = {name: object() for name in set(fields) - secrets}
        for wrong in (strange, *({name: [canary("inner"), 5]} for name in secrets)):
            with pytest.raises(ValidationError) as raised:
                config(**{**given, **wrong})
            assert "canary" not in str(raised.value)
        needed = {n for n, field in fields.items() if field.is_required()} - secrets
        if needed:
            with pytest.raises(ValidationError) as raised:
                config(**given)
            assert "canary" not in str(raised.value)


def _given(annotation: Any, name: str) -> Any:
    """Return a canary in the shape of a field."""
    kind = getattr(annotation, "__origin__", None)
    return {list: [canary(name)], dict: {"k": canary(name)}}.get(kind, canary(name))


def test_httpx_logs_are_searched(evidence: Evidence) -> None:
    """The collector would find a secret in another library's log."""
    logging.getLogger("httpcore.somewhere").debug("headers %s", {"k": _KEY})
    with pytest.raises(AssertionError, match="canary-model"):
        evidence.check((_KEY,))


async def test_the_simulators_are_real(evidence: Evidence) -> None:
    """A plain client that logs leaves a trace: the search would see one of ours."""
    async with sims.TwilioSimulator() as sim, httpx.AsyncClient() as client:
        await client.get(f"{sim.api_base}/{_KEY}")
    await asyncio.sleep(0)
    with pytest.raises(AssertionError, match="canary-model"):
        evidence.check((_KEY,))
