"""Teams: the mock and the memory of conversations."""

from __future__ import annotations

from roomkit.providers.teams import (
    InMemoryConversationReferenceStore,
    MockTeamsProvider,
    TeamsProvider,
)
from tests.test_providers._events import an_event

REFERENCE = {"serviceUrl": "https://connector.test", "conversation": {"id": "c-1"}}


class TestMockTeamsProvider:
    """Usable wherever a TeamsProvider is asked for."""

    async def test_it_sends_as_a_teams_provider(self) -> None:
        mock = MockTeamsProvider()
        provider: TeamsProvider = mock
        event = an_event()
        assert (await provider.send(event, to="c-1")).success
        assert mock.sent == [{"event": event, "to": "c-1"}]


class TestConversationReferences:
    """One reference a conversation, the last one saved."""

    async def test_saved_references_come_back(self) -> None:
        store = InMemoryConversationReferenceStore()
        await store.save("c-1", REFERENCE)
        assert await store.get("c-1") == REFERENCE
        assert await store.get("c-2") is None

    async def test_the_last_one_counts(self) -> None:
        store = InMemoryConversationReferenceStore()
        await store.save("c-1", REFERENCE)
        await store.save("c-1", {"serviceUrl": "https://other.test"})
        assert await store.get("c-1") == {"serviceUrl": "https://other.test"}
        assert len(await store.list_all()) == 1

    async def test_deleting_is_idempotent(self) -> None:
        store = InMemoryConversationReferenceStore()
        await store.save("c-1", REFERENCE)
        await store.delete("c-1")
        await store.delete("c-1")
        assert await store.get("c-1") is None
        assert await store.list_all() == {}

    async def test_what_callers_do_to_their_dicts_changes_nothing(self) -> None:
        store = InMemoryConversationReferenceStore()
        given = dict(REFERENCE)
        await store.save("c-1", given)
        given["serviceUrl"] = "https://changed.test"
        got = await store.get("c-1")
        assert got == REFERENCE
        got["serviceUrl"] = "https://changed.test"
        listed = await store.list_all()
        assert listed == {"c-1": REFERENCE}
        listed["c-1"]["serviceUrl"] = "https://changed.test"
        listed.clear()
        assert await store.list_all() == {"c-1": REFERENCE}
