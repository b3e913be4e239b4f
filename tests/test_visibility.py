"""Who sees what, and what two visibilities allow together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkit.core.visibility import stricter, visible_to
from roomkit.models.channel import ChannelBinding
from roomkit.models.enums import ChannelCategory, ChannelType


def binding(channel_id: str, category: str = "transport") -> ChannelBinding:
    """Return a binding of one category."""
    kind = ChannelType.AI if category == "intelligence" else ChannelType.SMS
    return ChannelBinding(
        channel_id=channel_id,
        room_id="r",
        channel_type=kind,
        category=ChannelCategory(category),
    )


SMS, MAIL, BOT = binding("sms"), binding("mail"), binding("bot", "intelligence")
ROOM = [SMS, MAIL, BOT]


def seen_by(visibility: str, bindings: list[ChannelBinding] = ROOM) -> set[str]:
    """Return the ids of the channels that see something."""
    return {b.channel_id for b in bindings if visible_to(visibility, b)}


class TestVisibleTo:
    """One predicate, by the words of the contract."""

    @pytest.mark.parametrize(
        ("visibility", "expected"),
        [
            ("all", {"sms", "mail", "bot"}),
            ("none", set()),
            ("internal", set()),
            ("transport", {"sms", "mail"}),
            ("intelligence", {"bot"}),
            ("sms", {"sms"}),
            ("sms,bot", {"sms", "bot"}),
            (" sms , bot ,", {"sms", "bot"}),
            ("ghost", set()),
            ("ghost,mail", {"mail"}),
            ("", set()),
            (",", set()),
            ("SMS", set()),
            ("transport,bot", {"bot"}),  # in a list every word is an id
        ],
    )
    def test_words(self, visibility: str, expected: set[str]) -> None:
        assert seen_by(visibility) == expected

    @pytest.mark.parametrize("word", ["none", "internal", "transport", "intelligence"])
    def test_a_channel_called_like_a_keyword_is_not_meant_by_it(self, word: str) -> None:
        category = "transport" if word == "intelligence" else "intelligence"
        assert not visible_to(word, binding(word, category))

    def test_a_muted_or_closed_off_binding_is_judged_alike(self) -> None:
        """Access and muting are others' business."""
        assert visible_to("sms", SMS.with_muted(True))


class TestStricter:
    """What comes out lets through only what both let through."""

    @pytest.mark.parametrize(
        ("first", "second", "expected"),
        [
            ("all", "all", "all"),
            ("all", "transport", "transport"),
            ("sms,mail", "all", "sms,mail"),
            ("internal", "all", "internal"),
            ("none", "transport", "none"),
            ("sms", "internal", "internal"),
            ("none", "internal", "none"),
            ("internal", "none", "none"),
            ("transport", "transport", "transport"),
            ("transport", "intelligence", "none"),
            ("transport", "sms,bot", "sms"),
            ("sms,bot,mail", "transport", "sms,mail"),
            ("intelligence", "sms", "none"),
            ("sms,bot", "bot,mail", "bot"),
            ("sms,mail,bot", "bot,sms", "sms,bot"),
            ("sms", "mail", "none"),
            ("a,b", "b,c", "b"),  # ids that are not attached yet count too
        ],
    )
    def test_table(self, first: str, second: str, expected: str) -> None:
        assert stricter(first, second, ROOM) == expected

    def test_a_lone_channel_called_all_does_not_become_everybody(self) -> None:
        room = [*ROOM, binding("all")]
        word = stricter("all,sms", "all,mail", room)
        assert seen_by(word, room) == {"all"}

    @given(st.data())
    def test_it_is_the_intersection(self, data: st.DataObject) -> None:
        """Property: seen by exactly those who see both, whatever the order, and stable."""
        ids = ["sms", "mail", "bot", "all", "none", "transport", "x"]
        room = [
            binding(name, data.draw(st.sampled_from(["transport", "intelligence"])))
            for name in data.draw(st.lists(st.sampled_from(ids), unique=True))
        ]
        words = st.one_of(
            st.sampled_from(["all", "none", "internal", "transport", "intelligence", "", *ids]),
            st.lists(st.sampled_from(ids), min_size=1).map(lambda names: ",".join([*names, ""])),
            st.text(alphabet="smx ,"),
        )
        first, second = data.draw(words), data.draw(words)
        result = stricter(first, second, room)
        assert seen_by(result, room) == seen_by(first, room) & seen_by(second, room)
        assert seen_by(stricter(second, first, room), room) == seen_by(result, room)
        assert seen_by(stricter(result, first, room), room) == seen_by(result, room)
