-- Rooms have a number of their own (seq): short in every index, in the order of creation, and
-- never used twice, so that versions (which start at seq * 2^32) never repeat for a room id.
-- Times of queues are seconds since the epoch.

CREATE TABLE rooms (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    organization_id TEXT,
    status TEXT NOT NULL,
    created_at REAL NOT NULL,
    version INTEGER NOT NULL DEFAULT 0,
    members_version INTEGER NOT NULL DEFAULT 0,
    edits_version INTEGER NOT NULL DEFAULT 0,
    event_count INTEGER NOT NULL DEFAULT 0,
    last_activity_at TEXT,
    inactive_after INTEGER,
    closed_after INTEGER,
    due_at REAL,
    doc TEXT NOT NULL
);
CREATE INDEX rooms_status ON rooms (status);
CREATE INDEX rooms_organization ON rooms (organization_id, status)
    WHERE organization_id IS NOT NULL;
CREATE INDEX rooms_due ON rooms (due_at) WHERE due_at IS NOT NULL;

-- results is a JSON object that finishes append to: a later value of a name counts.
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    room INTEGER NOT NULL REFERENCES rooms (seq) ON DELETE CASCADE,
    idx INTEGER NOT NULL,
    version INTEGER NOT NULL,
    channel_id TEXT NOT NULL,
    key TEXT,
    visibility TEXT NOT NULL,
    results TEXT,
    doc TEXT NOT NULL
);
CREATE UNIQUE INDEX events_place ON events (room, idx);
CREATE INDEX events_visibility ON events (room, visibility, idx);
CREATE UNIQUE INDEX events_key ON events (room, key) WHERE key IS NOT NULL;
CREATE INDEX events_channel_key ON events (channel_id, key) WHERE key IS NOT NULL;

CREATE TABLE bindings (
    seq INTEGER PRIMARY KEY,
    room INTEGER NOT NULL REFERENCES rooms (seq) ON DELETE CASCADE,
    channel_id TEXT NOT NULL,
    channel_type TEXT NOT NULL,
    participant_id TEXT,
    room_status TEXT NOT NULL,
    room_created REAL NOT NULL,
    doc TEXT NOT NULL,
    UNIQUE (room, channel_id)
);
CREATE INDEX bindings_channel ON bindings (channel_id, room_status, room);
CREATE INDEX bindings_person ON bindings (participant_id, room_status, room_created, room)
    WHERE participant_id IS NOT NULL;
CREATE INDEX bindings_person_type
    ON bindings (participant_id, channel_type, room_status, room_created, room)
    WHERE participant_id IS NOT NULL;

CREATE TABLE participants (
    seq INTEGER PRIMARY KEY,
    room INTEGER NOT NULL REFERENCES rooms (seq) ON DELETE CASCADE,
    id TEXT NOT NULL,
    room_status TEXT NOT NULL,
    room_created REAL NOT NULL,
    doc TEXT NOT NULL,
    UNIQUE (room, id)
);
CREATE INDEX participants_person ON participants (id, room_status, room_created, room);

-- Whose room is whose: per channel and recipient key that somebody has asked for, the
-- normalised names on the bindings. A name is stored with '=' before it, nobody as ''.
CREATE TABLE route_keys (
    channel_id TEXT NOT NULL,
    recipient_key TEXT NOT NULL,
    PRIMARY KEY (channel_id, recipient_key)
) WITHOUT ROWID;
CREATE TABLE room_names (
    channel_id TEXT NOT NULL,
    recipient_key TEXT NOT NULL,
    name TEXT NOT NULL,
    room_status TEXT NOT NULL,
    room INTEGER NOT NULL REFERENCES rooms (seq) ON DELETE CASCADE,
    PRIMARY KEY (channel_id, recipient_key, name, room_status, room)
) WITHOUT ROWID;
CREATE INDEX room_names_room ON room_names (room, channel_id);

-- One open room a claim. An organization is stored with '=' before it, none as ''.
CREATE TABLE room_claims (
    organization TEXT NOT NULL,
    channel_id TEXT NOT NULL,
    sender_id TEXT NOT NULL,
    room INTEGER NOT NULL REFERENCES rooms (seq) ON DELETE CASCADE,
    PRIMARY KEY (organization, channel_id, sender_id)
) WITHOUT ROWID;
CREATE INDEX room_claims_room ON room_claims (room);

CREATE TABLE identities (
    id TEXT NOT NULL PRIMARY KEY,
    doc TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE identity_addresses (
    channel_type TEXT NOT NULL,
    address TEXT NOT NULL,
    identity_id TEXT NOT NULL REFERENCES identities (id) ON DELETE CASCADE,
    PRIMARY KEY (channel_type, address)
) WITHOUT ROWID;
CREATE INDEX identity_addresses_identity ON identity_addresses (identity_id);

CREATE TABLE tasks (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    room INTEGER NOT NULL REFERENCES rooms (seq) ON DELETE CASCADE,
    status TEXT NOT NULL,
    doc TEXT NOT NULL
);
CREATE INDEX tasks_room ON tasks (room, status);

CREATE TABLE observations (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    room INTEGER NOT NULL REFERENCES rooms (seq) ON DELETE CASCADE,
    doc TEXT NOT NULL
);
CREATE INDEX observations_room ON observations (room);

-- The index of the last event a channel has read.
CREATE TABLE read_markers (
    room INTEGER NOT NULL REFERENCES rooms (seq) ON DELETE CASCADE,
    channel_id TEXT NOT NULL,
    idx INTEGER NOT NULL,
    PRIMARY KEY (room, channel_id)
) WITHOUT ROWID;

-- What vendors call our messages, of deliveries without a record (any more).
CREATE TABLE sent_messages (
    provider_message_id TEXT NOT NULL PRIMARY KEY,
    event_id TEXT NOT NULL,
    channel_id TEXT NOT NULL,
    room INTEGER NOT NULL REFERENCES rooms (seq) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX sent_messages_room ON sent_messages (room);

CREATE TABLE workers (
    owner TEXT NOT NULL PRIMARY KEY,
    channels TEXT NOT NULL,
    beat_at REAL NOT NULL
) WITHOUT ROWID;

-- head marks the first pending record of a lane. An owner is named only while pending.
CREATE TABLE deliveries (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    room INTEGER NOT NULL REFERENCES rooms (seq) ON DELETE CASCADE,
    event_id TEXT NOT NULL,
    channel_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    direct INTEGER NOT NULL,
    status TEXT NOT NULL DEFAULT 'pending',
    head INTEGER NOT NULL,
    owner TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    due_at REAL NOT NULL,
    created_at REAL NOT NULL,
    finished_at REAL,
    error TEXT,
    message_id TEXT
);
CREATE INDEX deliveries_message ON deliveries (message_id) WHERE message_id IS NOT NULL;
CREATE INDEX deliveries_room ON deliveries (room);
CREATE INDEX deliveries_lane ON deliveries (room, channel_id) WHERE status = 'pending';
CREATE INDEX deliveries_open ON deliveries (owner) WHERE status = 'pending';
CREATE INDEX deliveries_ready ON deliveries (due_at, channel_id)
    WHERE head = 1 AND owner IS NULL;
CREATE INDEX deliveries_ended ON deliveries (finished_at)
    WHERE status IN ('done', 'skipped');
CREATE INDEX deliveries_dead ON deliveries (finished_at) WHERE status = 'dead';

CREATE TABLE inbox (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    channel_id TEXT NOT NULL,
    sender_id TEXT NOT NULL,
    key TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'pending',
    head INTEGER NOT NULL,
    owner TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    due_at REAL NOT NULL,
    created_at REAL NOT NULL,
    finished_at REAL,
    error TEXT,
    payload TEXT NOT NULL,
    UNIQUE (channel_id, key)
);
CREATE INDEX inbox_lane ON inbox (channel_id, sender_id) WHERE status = 'pending';
CREATE INDEX inbox_open ON inbox (owner) WHERE status = 'pending';
CREATE INDEX inbox_ready ON inbox (due_at, channel_id) WHERE head = 1 AND owner IS NULL;
CREATE INDEX inbox_ended ON inbox (finished_at) WHERE status IN ('done', 'skipped');
CREATE INDEX inbox_dead ON inbox (finished_at) WHERE status = 'dead';
