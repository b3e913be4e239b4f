"""Writing rooms, their members and what else belongs to them. Runs in the writer's thread."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, Final

from roomkit.exceptions import StoreError
from roomkit.store._sql.codec import dump, load_binding, load_identity
from roomkit.store.base import names_person

if TYPE_CHECKING:
    from collections.abc import Sequence

    from roomkit.models.channel import ChannelBinding
    from roomkit.store._sql.lite_rows import BindingRow, ParticipantRow, RoomRow
    from roomkit.store._sql.lite_threads import Db

VERSION_SHIFT: Final = 32
"""A room's first version is its number times 2 to this power: above any of an earlier room."""

_INSERT_ROOM: Final = (
    "INSERT INTO rooms (id, organization_id, status, created_at, last_activity_at,"
    " inactive_after, closed_after, due_at, doc) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_START_VERSION: Final = "UPDATE rooms SET version = ?, members_version = ? WHERE seq = ?"
_UPDATE_ROOM: Final = (
    "UPDATE rooms SET organization_id = ?, status = ?, created_at = ?, last_activity_at = ?,"
    " inactive_after = ?, closed_after = ?, due_at = ?, doc = ? WHERE seq = ?"
)
_ROOM_KEYS: Final = "SELECT seq, status, created_at FROM rooms WHERE id = ?"
_MOVE: Final = (
    "UPDATE rooms SET version = version + 1, members_version = version + 1 WHERE seq = ?",
    "SELECT version FROM rooms WHERE seq = ?",
)
_REFILE: Final = (
    "UPDATE bindings SET room_status = ?, room_created = ? WHERE room = ?",
    "UPDATE participants SET room_status = ?, room_created = ? WHERE room = ?",
)
_REFILE_NAMES: Final = "UPDATE room_names SET room_status = ? WHERE room = ?"
_PUT_BINDING: Final = (
    "INSERT INTO bindings (room, channel_id, channel_type, participant_id, room_status,"
    " room_created, doc) VALUES (?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (room, channel_id) DO UPDATE SET channel_type = excluded.channel_type,"
    " participant_id = excluded.participant_id, doc = excluded.doc"
)
_PUT_PARTICIPANT: Final = (
    "INSERT INTO participants (room, id, room_status, room_created, doc)"
    " VALUES (?, ?, ?, ?, ?) ON CONFLICT (room, id) DO UPDATE SET doc = excluded.doc"
)
_KEYS_OF_CHANNEL: Final = "SELECT recipient_key FROM route_keys WHERE channel_id = ?"
_DROP_NAMES: Final = "DELETE FROM room_names WHERE room = ? AND channel_id = ?"
_ADD_NAME: Final = (
    "INSERT OR IGNORE INTO room_names (channel_id, recipient_key, name, room_status, room)"
    " VALUES (?, ?, ?, ?, ?)"
)
_PUT_ADDRESS: Final = (
    "INSERT INTO identity_addresses (channel_type, address, identity_id) VALUES (?, ?, ?)"
    " ON CONFLICT (channel_type, address) DO UPDATE SET identity_id = excluded.identity_id"
)
_PUT_MARKER: Final = (
    "INSERT INTO read_markers (room, channel_id, idx) VALUES (?, ?, ?)"
    " ON CONFLICT (room, channel_id) DO UPDATE SET idx = excluded.idx"
)


def unknown_room(room_id: str) -> StoreError:
    """Return the error of something that belongs to a room that is not there."""
    return StoreError(f"there is no room {room_id!r} to add to: create it first")


def seq_of(db: Db, room_id: str) -> int | None:
    """Return a room's number, or None."""
    row = db.execute("SELECT seq FROM rooms WHERE id = ?", (room_id,)).fetchone()
    return None if row is None else row[0]


def moved(db: Db, seq: int) -> int:
    """Move the version of a room whose members changed; return it."""
    db.execute(_MOVE[0], (seq,))
    version: int = db.execute(_MOVE[1], (seq,)).fetchone()[0]
    return version


def insert(db: Db, sql: str, values: Sequence[Any], what: str) -> int:
    """Insert a row that must be new; return its number.

    Raises:
        StoreError: There is one of this id already.
    """
    try:
        return db.execute(sql, values).lastrowid or 0
    except sqlite3.IntegrityError as exc:
        if exc.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
            raise
        raise StoreError(f"{what} is stored already: ids and keys are used once") from exc


# -- rooms ---------------------------------------------------------------------------------


def create_room(db: Db, row: RoomRow) -> int:
    """Store a new room; return its number."""
    seq = insert(db, _INSERT_ROOM, row, f"a room with the id {row.id!r}")
    version = seq << VERSION_SHIFT
    db.execute(_START_VERSION, (version, version, seq))
    return seq


def update_room(db: Db, row: RoomRow) -> int | None:
    """Store a changed room but for its counters; return its version, None if unknown."""
    seq = write_room(db, row)
    return None if seq is None else moved(db, seq)


def write_room(db: Db, row: RoomRow) -> int | None:
    """Write a room's columns without moving its version; return its number."""
    known = db.execute(_ROOM_KEYS, (row.id,)).fetchone()
    if known is None:
        return None
    seq, status, created = known
    db.execute(_UPDATE_ROOM, (*row[1:], seq))
    if status != row.status or created != row.created_at:
        for sql in _REFILE:
            db.execute(sql, (row.status, row.created_at, seq))
        db.execute(_REFILE_NAMES, (row.status, seq))
    return int(seq)


def delete_room(db: Db, room_id: str) -> bool:
    """Remove a room and all that belongs to it."""
    return db.execute("DELETE FROM rooms WHERE id = ?", (room_id,)).rowcount > 0


# -- members -------------------------------------------------------------------------------


def add_binding(db: Db, row: BindingRow) -> int:
    """Store a binding, replacing one of the same channel; return the room's version."""
    keys = db.execute(_ROOM_KEYS, (row.room_id,)).fetchone()
    if keys is None:
        raise unknown_room(row.room_id)
    put_binding(db, keys, row)
    return moved(db, keys[0])


def put_binding(db: Db, keys: tuple[int, str, float], row: BindingRow) -> None:
    """Write a binding of a room (its number, status and time) and its names."""
    seq, status, created = keys
    db.execute(
        _PUT_BINDING,
        (seq, row.channel_id, row.channel_type, row.participant_id, status, created, row.doc),
    )
    wanted = db.execute(_KEYS_OF_CHANNEL, (row.channel_id,)).fetchall()
    if wanted:
        db.execute(_DROP_NAMES, (seq, row.channel_id))
        for (key,) in wanted:
            _name(db, row.binding, key, status, seq)


def _name(db: Db, binding: ChannelBinding, key: str, status: str, seq: int) -> None:
    names = [f"={name}" for name in names_person(binding, key)] or [""]
    for name in names:
        db.execute(_ADD_NAME, (binding.channel_id, key, name, status, seq))


def update_binding(db: Db, row: BindingRow) -> int | None:
    """Store a changed binding; None, and nothing done, when there is none."""
    keys = db.execute(_ROOM_KEYS, (row.room_id,)).fetchone()
    if keys is None:
        return None
    found = db.execute(
        "SELECT 1 FROM bindings WHERE room = ? AND channel_id = ?", (keys[0], row.channel_id)
    ).fetchone()
    if found is None:
        return None
    put_binding(db, keys, row)
    return moved(db, keys[0])


def remove_binding(db: Db, room_id: str, channel_id: str) -> int | None:
    """Remove a binding; return the room's version, None if there was none."""
    seq = seq_of(db, room_id)
    if seq is None or not drop_binding(db, seq, channel_id):
        return None
    return moved(db, seq)


def drop_binding(db: Db, seq: int, channel_id: str) -> bool:
    """Remove a binding of a room and its names."""
    db.execute(_DROP_NAMES, (seq, channel_id))
    return (
        db.execute(
            "DELETE FROM bindings WHERE room = ? AND channel_id = ?", (seq, channel_id)
        ).rowcount
        > 0
    )


def add_participant(db: Db, row: ParticipantRow) -> int:
    """Store a participant, replacing one of the same id; return the room's version."""
    keys = db.execute(_ROOM_KEYS, (row.room_id,)).fetchone()
    if keys is None:
        raise unknown_room(row.room_id)
    put_participant(db, keys, row)
    return moved(db, keys[0])


def put_participant(db: Db, keys: tuple[int, str, float], row: ParticipantRow) -> None:
    """Write a participant of a room (its number, status and time)."""
    seq, status, created = keys
    db.execute(_PUT_PARTICIPANT, (seq, row.id, status, created, row.doc))


def update_participant(db: Db, row: ParticipantRow) -> int | None:
    """Store a changed participant; None, and nothing done, when there is none."""
    seq = seq_of(db, row.room_id)
    if seq is None:
        return None
    changed = db.execute(
        "UPDATE participants SET doc = ? WHERE room = ? AND id = ?", (row.doc, seq, row.id)
    ).rowcount
    return moved(db, seq) if changed else None


# -- routes --------------------------------------------------------------------------------


def file_channel(db: Db, channel_id: str, key: str) -> None:
    """Keep the names of a channel's bindings under a recipient key, from now on.

    Args:
        db: The database.
        channel_id: The channel.
        key: The metadata key that holds a person's address; "" for none.
    """
    sql = "INSERT OR IGNORE INTO route_keys (channel_id, recipient_key) VALUES (?, ?)"
    if not db.execute(sql, (channel_id, key)).rowcount:
        return  # another process was faster
    bound = "SELECT room, room_status, doc FROM bindings WHERE channel_id = ?"
    for seq, status, doc in db.execute(bound, (channel_id,)):
        _name(db, load_binding(doc), key, status, seq)


# -- tasks, observations, identities -------------------------------------------------------


def add_task(db: Db, row: tuple[str, str, str, str]) -> None:
    """Store a new task."""
    task_id, room_id, status, doc = row
    seq = seq_of(db, room_id)
    if seq is None:
        raise unknown_room(room_id)
    sql = "INSERT INTO tasks (id, room, status, doc) VALUES (?, ?, ?, ?)"
    insert(db, sql, (task_id, seq, status, doc), f"a task with the id {task_id!r}")


def update_task(db: Db, row: tuple[str, str, str, str]) -> None:
    """Store a changed task; nothing happens when it is unknown."""
    task_id, _, status, doc = row
    db.execute("UPDATE tasks SET status = ?, doc = ? WHERE id = ?", (status, doc, task_id))


def add_observation(db: Db, row: tuple[str, str, str]) -> None:
    """Store a new observation."""
    observation_id, room_id, doc = row
    seq = seq_of(db, room_id)
    if seq is None:
        raise unknown_room(room_id)
    sql = "INSERT INTO observations (id, room, doc) VALUES (?, ?, ?)"
    insert(db, sql, (observation_id, seq, doc), f"an observation with the id {observation_id!r}")


def create_identity(
    db: Db, identity_id: str, addresses: Sequence[tuple[str, str]], doc: str
) -> None:
    """Store a new identity and its addresses (channel type, address)."""
    sql = "INSERT INTO identities (id, doc) VALUES (?, ?)"
    insert(db, sql, (identity_id, doc), f"an identity with the id {identity_id!r}")
    db.executemany(_PUT_ADDRESS, [(*address, identity_id) for address in addresses])


def link_address(db: Db, identity_id: str, channel_type: str, address: str) -> None:
    """Give an identity an address, once; nothing happens when it is unknown."""
    row = db.execute("SELECT doc FROM identities WHERE id = ?", (identity_id,)).fetchone()
    if row is None:
        return
    identity = load_identity(row[0])
    known = identity.channel_addresses.setdefault(channel_type, [])
    if address not in known:
        known.append(address)
        db.execute("UPDATE identities SET doc = ? WHERE id = ?", (dump(identity), identity_id))
    db.execute(_PUT_ADDRESS, (channel_type, address, identity_id))


# -- read markers --------------------------------------------------------------------------


def mark_read(db: Db, room_id: str, channel_id: str, event_id: str) -> None:
    """Remember the last event a channel has read; an unknown one: it has read none."""
    seq = seq_of(db, room_id)
    if seq is None:
        return
    place = db.execute(
        "SELECT idx FROM events WHERE id = ? AND room = ?", (event_id, seq)
    ).fetchone()
    if place is None:
        sql = "DELETE FROM read_markers WHERE room = ? AND channel_id = ?"
        db.execute(sql, (seq, channel_id))
    else:
        db.execute(_PUT_MARKER, (seq, channel_id, place[0]))


def mark_all_read(db: Db, room_id: str, channel_id: str) -> None:
    """Remember that a channel has read all; nothing happens in an empty room."""
    row = db.execute("SELECT seq, event_count FROM rooms WHERE id = ?", (room_id,)).fetchone()
    if row is not None and row[1]:
        db.execute(_PUT_MARKER, (row[0], channel_id, row[1] - 1))
