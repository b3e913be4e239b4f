"""The stand-in for Gemini's Live API refuses what the vendor refuses."""

from __future__ import annotations

import json
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.client import connect

from roomkit.simulators.gemini_live import GeminiLiveSimulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PATH = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
SETUP = {"setup": {"model": "models/gemini-3.8-live"}}
MANUAL = {"automaticActivityDetection": {"disabled": True}}


@asynccontextmanager
async def talking(
    sim: GeminiLiveSimulator, key: str | None = None, path: str = PATH
) -> AsyncIterator[Any]:
    """A connection of somebody who speaks the protocol by hand."""
    trusted = ssl.create_default_context(cafile=sim.settings["ca_file"])
    url = sim.api_base.replace("https", "wss") + path
    headers = {"x-goog-api-key": sim.settings["api_key"] if key is None else key}
    async with connect(url, ssl=trusted, additional_headers=headers, compression=None) as ws:
        yield ws


async def refused(ws: Any, *messages: Any) -> tuple[int, str]:
    """Send messages and return why the connection was closed."""
    for message in messages:
        await ws.send(message if isinstance(message, str) else json.dumps(message))
    await ws.wait_closed()
    return ws.protocol.close_code, ws.protocol.close_reason


def setup(**fields: Any) -> dict[str, Any]:
    """Return a first message with more in it."""
    return {"setup": {**SETUP["setup"], **fields}}


@pytest.mark.parametrize(
    ("messages", "code", "words"),
    [
        (["no json"], 1007, "invalid argument"),
        (["[]"], 1007, "invalid argument"),
        ([{"hello": {}}], 1007, 'Unknown name "hello"'),
        ([{"realtimeInput": {"text": "hi"}}], 1007, "setup must be the first"),
        ([SETUP, SETUP], 1007, "setup must be the first"),
        ([{"setup": {"model": "models/other"}}], 1008, "is not found"),
        ([setup(surprise=1)], 1007, 'Unknown name "surprise"'),
        ([setup(generationConfig={"heat": 1})], 1007, 'Unknown name "heat"'),
        ([setup(sessionResumption={"handle": "nobody's"})], 1008, "session not found"),
        ([setup(tools=[{"functionDeclarations": [{"name": "1 2"}]}])], 1007, "function name"),
        (
            [
                setup(
                    realtimeInputConfig={
                        "automaticActivityDetection": {"startOfSpeechSensitivity": "HIGH"}
                    }
                )
            ],
            1007,
            "startOfSpeechSensitivity",
        ),
        ([SETUP, {"realtimeInput": {"audio": {"data": "AAAA"}}}], 1007, "MIME type"),
        (
            [SETUP, {"realtimeInput": {"audio": {"data": "AA==", "mimeType": "audio/pcm"}}}],
            1007,
            "half a sample",
        ),
        (
            [SETUP, {"realtimeInput": {"audio": {"data": "%", "mimeType": "audio/pcm"}}}],
            1007,
            "Base64",
        ),
        ([SETUP, {"realtimeInput": {"activityStart": {}}}], 1007, "Explicit activity control"),
        (
            [setup(realtimeInputConfig=MANUAL), {"realtimeInput": {"audioStreamEnd": True}}],
            1007,
            "audio_stream_end",
        ),
        ([SETUP, {"clientContent": {"turns": [{"role": "system"}]}}], 1007, "valid role"),
        ([SETUP, {"clientContent": {"turns": [3]}}], 1007, "invalid argument"),
        (
            [SETUP, {"toolResponse": {"functionResponses": [{"id": "x", "response": {}}]}}],
            1007,
            "invalid argument",
        ),
    ],
)
async def test_what_is_refused(messages: list[Any], code: int, words: str) -> None:
    """The connection is closed, and says why."""
    async with GeminiLiveSimulator() as sim, talking(sim) as ws:
        closed, reason = await refused(ws, *messages)
        assert closed == code
        assert words in reason


async def test_a_wrong_key() -> None:
    """It is looked at with the first message, as the vendor does."""
    async with GeminiLiveSimulator() as sim, talking(sim, key="wrong") as ws:
        assert "API key not valid" in (await refused(ws, SETUP))[1]


async def test_either_way_to_write_names() -> None:
    """As protocol buffers' JSON: schemas of tools are left alone."""
    schema = {"type": "object", "properties": {"snake_case": {"type": "string"}}}
    declared = {"name": "t", "parameters_json_schema": schema}
    async with GeminiLiveSimulator() as sim, talking(sim) as ws:
        await ws.send(json.dumps(setup(tools=[{"function_declarations": [declared]}])))
        assert "setupComplete" in json.loads(await ws.recv())
        found = sim.setup["tools"][0]["functionDeclarations"][0]["parametersJsonSchema"]
        assert found == schema


async def test_it_must_run() -> None:
    """Outside its context there is no address; a second run has another one."""
    sim = GeminiLiveSimulator()
    with pytest.raises(RuntimeError, match="not running"):
        assert sim.api_base
    async with sim:
        first = sim.settings["ca_file"]
    async with sim, talking(sim) as ws:
        assert sim.settings["ca_file"] != first
        await ws.send(json.dumps(SETUP))
        await sim.connected(1)
