"""docs/websocket-protocol.md says what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from roomkit.asgi import _ws_auth, _ws_frames, _ws_requests
from roomkit.asgi._ws_frames import parse
from roomkit.asgi._ws_limits import Bounds, Close
from roomkit.asgi._ws_view import METADATA_KEYS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "websocket-protocol.md").read_text(encoding="utf-8")
SOURCES = sorted((ROOT / "src" / "roomkit" / "asgi").glob("_ws*.py"))
HEADS = {"type", "code", "Key"}


def rows(heading: str) -> dict[str, str]:
    """Return the first two columns of the tables below a heading."""
    section = PAGE.partition(f"\n{heading}\n")[2].partition("\n## ")[0].partition("\n### ")[0]
    found = re.findall(r"^\| `?(\w+)`? \|([^|]*)\|", section, re.MULTILINE)
    return {first: second.strip() for first, second in found if first not in HEADS}


def written(call: str) -> set[str]:
    """Return the first words given to a call anywhere in the endpoint's code."""
    code = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    return set(re.findall(rf'{call}\(\s*"(\w+)"', code))


class TestTables:
    """Each table is complete, and says the right thing."""

    def test_limits(self) -> None:
        """Names and defaults."""
        limits = {name: float(default) for name, default in rows("## Limits").items()}
        fields = Bounds.__dataclass_fields__
        assert limits == {name: float(fields[name].default) for name in fields}

    def test_close_codes(self) -> None:
        """All that are used, no others."""
        codes = {int(code) for code in rows("## Errors") if code.isdigit()}
        assert codes == {int(code) for code in Close}

    def test_error_codes(self) -> None:
        """All that are sent, no others."""
        named = {code for code in rows("## Errors") if not code.isdigit()}
        sent = (
            written("FrameError")
            | written("_Refused")
            | set(
                re.findall(
                    r'code(?:, detail)? ?= ?"(\w+)"',
                    "\n".join(path.read_text(encoding="utf-8") for path in SOURCES),
                )
            )
        )
        assert named == sent

    def test_frames_from_the_server(self) -> None:
        """All that are sent, no others."""
        assert set(rows("### From the server")) == written("encode")

    def test_frames_from_the_client(self) -> None:
        """All that are read, no others."""
        read = set(
            re.findall(r'^    "(\w+)": _\w+,$', Path(_ws_frames.__file__).read_text(), re.M)
        )
        assert set(rows("### From the client")) == read

    def test_metadata(self) -> None:
        """What clients get of it."""
        for key in METADATA_KEYS:
            assert f"`{key}`" in PAGE
        assert _ws_auth.TOKEN_KEY in PAGE
        assert f"`{_ws_requests.BLOCKED}`" in PAGE


class TestExamples:
    """The frames shown are frames."""

    @pytest.mark.parametrize("block", re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL))
    def test_they_are_json(self, block: str) -> None:
        """And those of clients can be read."""
        decoder, rest = json.JSONDecoder(), block.strip()
        known = set(rows("### From the client")) | set(rows("### From the server"))
        while rest:
            frame, end = decoder.raw_decode(rest)
            assert frame["type"] in known
            if frame["type"] in ("join", "message", "typing", "read"):
                parse(json.dumps(frame))
            rest = rest[end:].strip()
