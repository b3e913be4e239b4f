"""What happened, as text: compared with what should have happened, then printed."""

from __future__ import annotations

from difflib import ndiff
from typing import TYPE_CHECKING, Any

from roomkit import EditContent, RoomEvent

if TYPE_CHECKING:
    from collections.abc import Sequence


class Checks:
    """Collects what differs from the expectation: ``-`` was expected, ``+`` came instead.

    Attributes:
        failed: The differences as lines of text; empty when all is well.
        made: How many comparisons were made.
    """

    def __init__(self) -> None:
        self.failed: list[str] = []
        self.made = 0

    def equal(self, what: str, got: object, expected: object) -> None:
        """Note whether two values are equal; of lists only what differs is told."""
        self.made += 1
        if got == expected:
            return
        self.failed.append(what)
        if isinstance(got, list) and isinstance(expected, list):
            differing = ndiff([str(item) for item in expected], [str(item) for item in got])
            self.failed += [f"    {text}" for text in differing if text[0] in "-+"]
        else:
            self.failed += [f"    - {expected!r}", f"    + {got!r}"]


def words(content: Any) -> str:
    """Return what an event says, in one line."""
    if isinstance(content, EditContent):
        return f"(edit) {words(content.new_content)}"
    return str(getattr(content, "body", content.type))


def line(event: RoomEvent) -> str:
    """Return one line of the timeline."""
    marks = [key for key in ("edited", "deleted") if event.metadata.get(key)]
    if event.blocked_by is not None:
        marks.append(f"by {event.blocked_by}")
    if event.metadata.get("tool_rounds"):
        marks.append("used a tool")
    who = event.source.participant_id or event.source.channel_id
    tail = f"  [{', '.join(marks)}]" if marks else ""
    return f"{event.index:>2}  {event.status:<9}  {who:<9}  {words(event.content)}{tail}"


def show(title: str, lines: Sequence[str]) -> None:
    """Print a headed list."""
    print(f"\n{title}\n{'-' * len(title)}")
    for text in lines:
        print(f"  {text}")
