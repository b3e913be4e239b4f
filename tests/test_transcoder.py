"""Content on its way to channels that may not be able to carry it."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roomkit.core.router import ContentTranscoder
from roomkit.core.transcoder import (
    DefaultContentTranscoder,
    adapt,
    passes_untouched,
    truncated,
)
from roomkit.models.channel import ChannelBinding, ChannelCapabilities
from roomkit.models.content import (
    MAX_NESTING_DEPTH,
    AudioContent,
    CompositeContent,
    DeleteContent,
    EditContent,
    EventContent,
    LocationContent,
    MediaContent,
    RichContent,
    SystemContent,
    TemplateContent,
    TextContent,
    VideoContent,
    nesting_depth,
)
from roomkit.models.enums import ChannelMediaType, ChannelType


def preset(kinds: str, *flags: str, max_length: int | None = None) -> ChannelCapabilities:
    """Return capabilities of these media types, edit and delete by flag."""
    return ChannelCapabilities(
        media_types=[ChannelMediaType(kind) for kind in kinds.split()],
        supports_edit="edit" in flags,
        supports_delete="delete" in flags,
        max_length=max_length,
    )


PRESETS = {
    "sms": preset("text media", max_length=1600),
    "email": preset("text rich media"),
    "whatsapp": preset("text rich media location template", "edit", "delete", max_length=4096),
    "wa_personal": preset(
        "text rich media audio video location", "edit", "delete", max_length=4096
    ),
    "messenger": preset("text rich media template", "delete", max_length=2000),
    "teams": preset("text rich", "edit", "delete", max_length=28000),
    "http": preset("text rich"),
    "rcs": preset("text rich media", max_length=8000),
    "websocket": preset("text rich media audio video location", "edit", "delete"),
    "default": ChannelCapabilities(),
    "nothing": preset(""),
}

PICTURE = MediaContent(url="https://x.test/a.png", mime_type="image/png", caption="A cat")
RICH = RichContent(body="**Hi**", plain_text="Hi")
TEXT = TextContent(body="Hello", language="en")

# Each content, and what a channel that lacks its kind gets instead.
CONTENTS: dict[str, tuple[EventContent, EventContent]] = {
    "text": (TEXT, TEXT),
    "rich": (RICH, TextContent(body="Hi")),
    "media": (PICTURE, TextContent(body="[Media: A cat]")),
    "audio": (
        AudioContent(url="https://x.test/a.ogg"),
        TextContent(body="[Voice message: https://x.test/a.ogg]"),
    ),
    "video": (
        VideoContent(url="https://x.test/a.mp4"),
        TextContent(body="[Video: https://x.test/a.mp4]"),
    ),
    "location": (
        LocationContent(latitude=1.0, longitude=2.5, label="Home"),
        TextContent(body="[Location: Home (1.0, 2.5)]"),
    ),
    "template": (
        TemplateContent(template_id="t1", body="Dear you"),
        TextContent(body="Dear you"),
    ),
    "edit": (
        EditContent(target_event_id="e1", new_content=TEXT),
        TextContent(body="Correction: Hello"),
    ),
    "delete": (DeleteContent(target_event_id="e1"), TextContent(body="[Message deleted]")),
    "composite": (
        CompositeContent(parts=[TEXT, TextContent(body="again")]),
        TextContent(body="Hello\nagain"),
    ),
    "system": (SystemContent(body="note", code="c"), SystemContent(body="note", code="c")),
}

# "." = comes through as it is, "x" = is replaced by the above. Columns as in PRESETS.
TABLE = """
           sms email whatsapp wa_personal messenger teams http rcs websocket default nothing
text       .   .     .        .           .         .     .    .   .         .       .
rich       x   .     .        .           .         .     .    .   .         x       x
media      .   .     .        .           .         x     x    .   .         x       x
audio      x   x     x        .           x         x     x    x   .         x       x
video      x   x     x        .           x         x     x    x   .         x       x
location   x   x     .        .           x         x     x    x   .         x       x
template   x   x     .        x           .         x     x    x   x         x       x
edit       x   x     .        .           x         .     x    x   .         x       x
delete     x   x     .        .           .         .     x    x   .         x       x
composite  x   x     x        x           x         x     x    x   x         x       x
system     .   .     .        .           .         .     .    .   .         .       .
"""


def table_cells() -> list[tuple[str, str, bool]]:
    """Return (content, preset, comes through) of every cell."""
    header, *rows = TABLE.strip().splitlines()
    columns = header.split()
    cells = []
    for row in rows:
        name, *marks = row.split()
        assert len(marks) == len(columns)
        cells += [(name, c, mark == ".") for c, mark in zip(columns, marks, strict=True)]
    return cells


def binding(capabilities: ChannelCapabilities | None = None) -> ChannelBinding:
    """Return a binding with these capabilities."""
    return ChannelBinding(
        channel_id="c",
        room_id="r",
        channel_type=ChannelType.SMS,
        capabilities=capabilities or ChannelCapabilities(),
    )


SOURCE = binding()


async def sent(content: EventContent, capabilities: ChannelCapabilities) -> EventContent | None:
    """Return what a channel of these capabilities gets."""
    return await adapt(DefaultContentTranscoder(), content, SOURCE, binding(capabilities))


class TestTable:
    """Every content type against every preset of capabilities."""

    def test_the_table_is_whole(self) -> None:
        cells = table_cells()
        assert len(cells) == 11 * 11
        assert {name for name, _, _ in cells} == set(CONTENTS)
        assert {column for _, column, _ in cells} == set(PRESETS)

    @pytest.mark.parametrize(("name", "column", "through"), table_cells())
    async def test_cell(self, name: str, column: str, through: bool) -> None:
        content, instead = CONTENTS[name]
        result = await sent(content, PRESETS[column])
        if through:
            assert result is content
        else:
            assert result == instead
            assert result is not content

    async def test_called_directly_it_leaves_what_the_target_carries(self) -> None:
        target = binding(PRESETS["email"])
        assert await DefaultContentTranscoder().transcode(RICH, SOURCE, target) is RICH


class TestWording:
    """The words that stand for what cannot be shown; none of them keeps a language."""

    @pytest.mark.parametrize(
        ("content", "body"),
        [
            (RichContent(body="<b>Hi</b>", format="html"), "<b>Hi</b>"),
            (RichContent(body="# Hi", plain_text=""), "# Hi"),
            (PICTURE, "[Media: A cat]"),
            (
                MediaContent(url="https://x.test/a", mime_type="a/b", filename="a.pdf"),
                "[Media: a.pdf]",
            ),
            (MediaContent(url="https://x.test/a", mime_type="a/b"), "[Media: https://x.test/a]"),
            (AudioContent(url="https://x.test/a", transcript="hey"), "hey"),
            (
                AudioContent(url="https://x.test/a", transcript=""),
                "[Voice message: https://x.test/a]",
            ),
            (LocationContent(latitude=1, longitude=2.5), "[Location:  (1.0, 2.5)]"),
            (
                LocationContent(latitude=-1.25, longitude=0, address="Main St"),
                "[Location: Main St (-1.25, 0.0)]",
            ),
            (TemplateContent(template_id="t1"), "[Template: t1]"),
            (
                EditContent(target_event_id="e", new_content=PICTURE),
                "Correction: [Media: A cat]",
            ),
            (CompositeContent(parts=[RICH, PICTURE, TEXT]), "Hi\n[Media: A cat]\nHello"),
        ],
    )
    async def test_text_only(self, content: EventContent, body: str) -> None:
        assert await sent(content, ChannelCapabilities()) == TextContent(body=body)

    async def test_an_edit_to_something_the_channel_carries_comes_bare(self) -> None:
        edit = EditContent(target_event_id="e", new_content=PICTURE)
        assert await sent(edit, PRESETS["sms"]) is PICTURE

    async def test_an_edit_of_an_edit(self) -> None:
        edit = EditContent(
            target_event_id="e", new_content=EditContent(target_event_id="e", new_content=TEXT)
        )
        assert await sent(edit, ChannelCapabilities()) == TextContent(
            body="Correction: Correction: Hello"
        )

    async def test_an_edit_whose_content_there_is_no_way_for(self) -> None:
        edit = EditContent(target_event_id="e", new_content=RICH)
        result = await adapt(NoRich(), edit, SOURCE, binding())
        assert result == TextContent(body="[Correction]")


class NoRich(DefaultContentTranscoder):
    """Knows no way for formatted text."""

    async def transcode(
        self,
        content: EventContent,
        source_binding: ChannelBinding,
        target_binding: ChannelBinding,
    ) -> EventContent | None:
        if isinstance(content, RichContent):
            return None
        return await super().transcode(content, source_binding, target_binding)


class TestComposite:
    """Parts are transcoded one by one; the result is always valid."""

    async def test_mixed_parts_stay_a_composite(self) -> None:
        video, words = CONTENTS["video"]
        result = await sent(CompositeContent(parts=[TEXT, video, PICTURE]), PRESETS["sms"])
        assert result == CompositeContent(parts=[TEXT, words, PICTURE])

    async def test_unchanged_parts_are_no_new_composite(self) -> None:
        content = CompositeContent(parts=[TEXT, PICTURE])
        assert await sent(content, PRESETS["sms"]) is content

    async def test_nested_texts_become_one(self) -> None:
        inner = CompositeContent(parts=[TEXT, RICH])
        result = await sent(CompositeContent(parts=[inner, TEXT]), ChannelCapabilities())
        assert result == TextContent(body="Hello\nHi\nHello")

    async def test_parts_without_a_way_are_left_out(self) -> None:
        content = CompositeContent(parts=[RICH, TEXT])
        assert await adapt(NoRich(), content, SOURCE, binding()) == TextContent(body="Hello")

    async def test_no_part_left_is_no_content(self) -> None:
        content = CompositeContent(parts=[RICH, CompositeContent(parts=[RICH])])
        assert await adapt(NoRich(), content, SOURCE, binding()) is None

    async def test_an_edit_that_brings_a_composite_keeps_within_the_depth(self) -> None:
        """Unwrapped, the edit's composite would be the sixth level."""
        deep: EventContent = PICTURE
        for _ in range(MAX_NESTING_DEPTH):
            deep = CompositeContent(parts=[deep, TEXT])
        wrapped = CompositeContent(parts=[EditContent(target_event_id="e", new_content=deep)])
        result = await sent(wrapped, PRESETS["sms"])
        assert isinstance(result, CompositeContent)
        assert nesting_depth(result) == MAX_NESTING_DEPTH
        assert await sent(result, PRESETS["sms"]) == result

    async def test_endless_wrapping_is_refused_not_raised(self) -> None:
        content: EventContent = TEXT
        for _ in range(5000):
            content = EditContent(target_event_id="e", new_content=content)
        assert await sent(content, ChannelCapabilities()) is None


class TestPassesUntouched:
    """What goes past the transcoder."""

    def test_composite_and_system_are_no_media_type(self) -> None:
        everything = ChannelCapabilities(
            media_types=list(ChannelMediaType), supports_edit=True, supports_delete=True
        )
        through = {
            name
            for name, (content, _) in CONTENTS.items()
            if passes_untouched(content, everything)
        }
        assert through == set(CONTENTS) - {"composite", "system"}

    async def test_the_transcoder_is_not_asked_then(self) -> None:
        class Refusing(ContentTranscoder):
            async def transcode(
                self, content: EventContent, source_binding: object, target_binding: object
            ) -> EventContent | None:
                raise AssertionError("asked")

        assert await adapt(Refusing(), TEXT, SOURCE, binding()) is TEXT


E_ACUTE = "e\u0301"
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"


class TestTruncated:
    """Text is cut to fit, never longer than asked, and never within a character."""

    @pytest.mark.parametrize(
        ("body", "limit", "expected"),
        [
            ("abcdefgh", 8, "abcdefgh"),
            ("abcdefgh", 7, "abcd..."),
            ("abcdefgh", 4, "a..."),
            ("abcdefgh", 3, "abc"),
            ("abcdefgh", 2, "ab"),
            ("abcdefgh", 1, "a"),
            (f"ab{E_ACUTE}cdef", 6, "ab..."),
            (f"ab{E_ACUTE}cdef", 7, f"ab{E_ACUTE}..."),
            (f"a{FAMILY}bcdef", 7, "a..."),
            ("ab\u2764\ufe0fcdef", 6, "ab..."),
            ("a\U0001f44d\U0001f3fdbcdef", 5, "a..."),
            ("ab\ud83d\ude00cdef", 6, "ab..."),
            (f"{E_ACUTE}bc", 1, "e"),
            ("\ud83d\ude00bc", 1, ""),
            ("a" + "\u0301" * 100, 53, "a" + "\u0301" * 49 + "..."),
        ],
    )
    def test_table(self, body: str, limit: int, expected: str) -> None:
        """Regression: limits of 1 and 2 gave text longer than the limit."""
        result = truncated(TextContent(body=body, language="fr"), limit)
        assert result == TextContent(body=expected, language="fr")

    def test_what_fits_is_the_same_object(self) -> None:
        assert truncated(TEXT, 5) is TEXT
        assert truncated(TEXT, None) is TEXT

    def test_only_text_is_cut(self) -> None:
        assert truncated(RICH, 1) is RICH

    async def test_fallback_text_is_cut_too(self) -> None:
        result = await sent(RichContent(body="x" * 2000), PRESETS["sms"])
        assert result == TextContent(body="x" * 1597 + "...")

    @given(
        st.text(alphabet="ab \u0301\u200d\ufe0f\U0001f44d\U0001f3fd\ud83d\ude00", max_size=60),
        st.integers(min_value=1, max_value=60),
    )
    def test_a_cut_keeps_characters_whole(self, body: str, limit: int) -> None:
        """Property: at most the limit, a true beginning, and no pair or short cluster split."""
        result = truncated(TextContent(body=body), limit)
        assert isinstance(result, TextContent)
        assert len(result.body) <= limit
        assert truncated(result, limit) is result
        if len(body) <= limit:
            assert result.body == body
            return
        kept = result.body.removesuffix("...") if limit > 3 else result.body
        assert body.startswith(kept)
        rest = body[len(kept) :]
        if kept and rest:
            assert not ("\ud800" <= kept[-1] <= "\udbff" and "\udc00" <= rest[0] <= "\udfff")
        room = limit - 3 if limit > 3 else limit
        if kept and len(kept) < room:  # stepped back, so to a place between two characters
            assert unicodedata.category(rest[0])[0] != "M"
            assert kept[-1] != "\u200d"


urls = st.sampled_from(["https://x.test/a", "http://x.test/b?c=d"])
words = st.text(max_size=30)
maybe = st.none() | words
leaves: st.SearchStrategy[EventContent] = st.one_of(
    st.builds(TextContent, body=words, language=maybe),
    st.builds(
        RichContent, body=words, plain_text=maybe, format=st.sampled_from(["html", "markdown"])
    ),
    st.builds(MediaContent, url=urls, mime_type=words, filename=maybe, caption=maybe),
    st.builds(AudioContent, url=urls, transcript=maybe),
    st.builds(VideoContent, url=urls),
    st.builds(
        LocationContent,
        latitude=st.floats(-90, 90),
        longitude=st.floats(-180, 180),
        label=maybe,
        address=maybe,
    ),
    st.builds(TemplateContent, template_id=words, body=maybe),
    st.builds(SystemContent, body=words),
    st.builds(DeleteContent, target_event_id=words),
)


def composite(parts: list[EventContent]) -> EventContent:
    """Return a composite, or its first part where that would be too deep."""
    too_deep = 1 + max(map(nesting_depth, parts)) > MAX_NESTING_DEPTH
    return parts[0] if too_deep else CompositeContent(parts=parts)


def edit(new_content: EventContent) -> EventContent:
    """Return an edit."""
    return EditContent(target_event_id="e", new_content=new_content)


contents = st.recursive(
    leaves,
    lambda inner: st.lists(inner, min_size=1, max_size=4).map(composite) | st.builds(edit, inner),
    max_leaves=12,
)
capability_sets = st.builds(
    ChannelCapabilities,
    media_types=st.lists(st.sampled_from(list(ChannelMediaType)), unique=True),
    supports_edit=st.booleans(),
    supports_delete=st.booleans(),
    max_length=st.none() | st.integers(min_value=1, max_value=50),
)


def fits(content: EventContent, capabilities: ChannelCapabilities) -> bool:
    """Return whether a channel can carry this; text and notices always count as carried."""
    if isinstance(content, CompositeContent):
        return all(fits(part, capabilities) for part in content.parts)
    if isinstance(content, TextContent | SystemContent):
        return True
    return passes_untouched(content, capabilities)


class TestAnyContent:
    """Whatever the content and the channel, what comes out can be carried."""

    @given(contents, capability_sets)
    @settings(max_examples=300, deadline=None)
    async def test_it_fits_is_valid_and_stays(
        self, content: EventContent, capabilities: ChannelCapabilities
    ) -> None:
        """Property: within the capabilities and the length, valid, and the same when repeated."""
        before = content.model_dump()
        result = await sent(content, capabilities)
        assert result is not None
        assert content.model_dump() == before
        assert fits(result, capabilities)
        assert nesting_depth(result) <= MAX_NESTING_DEPTH
        assert type(result).model_validate(result.model_dump()) == result
        if capabilities.max_length is not None and isinstance(result, TextContent):
            assert len(result.body) <= capabilities.max_length
        assert await sent(result, capabilities) is result
