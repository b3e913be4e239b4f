-- The first schema: conversations, the work that is still to be done, and the functions that
-- make a commit, a finish and a claim one round trip each.
--
-- A room's row is what serialises: whoever changes anything of a room, or the claims of its
-- deliveries, locks the row first (of several rooms in the order of their ids).

CREATE TABLE rooms (
    id text PRIMARY KEY,
    seq bigint GENERATED ALWAYS AS IDENTITY,
    status text NOT NULL,
    organization_id text,
    created_at timestamptz NOT NULL,
    last_activity_at timestamptz,
    -- Seconds of silence after which its next timer runs out, for its present status.
    due_after double precision,
    -- Not after the time that happens: activity only moves it later, which is found out then.
    due_at timestamptz,
    event_count bigint NOT NULL DEFAULT 0,
    -- Microseconds since 1970 when the room was made, then one more with every change.
    version bigint NOT NULL,
    members_version bigint NOT NULL,
    edits_version bigint NOT NULL,
    doc jsonb NOT NULL
) WITH (fillfactor = 60);
CREATE UNIQUE INDEX rooms_by_seq ON rooms (seq);
CREATE INDEX rooms_by_status ON rooms (status, seq);
CREATE INDEX rooms_by_organization ON rooms (organization_id, seq)
    WHERE organization_id IS NOT NULL;
CREATE INDEX rooms_by_due ON rooms (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX rooms_by_metadata ON rooms USING gin ((doc -> 'metadata') jsonb_path_ops);

CREATE TABLE events (
    id text PRIMARY KEY,
    -- Written under the lock of the room's row only: a foreign key would ask once more, each time.
    room_id text NOT NULL,
    index bigint NOT NULL,
    key text,
    channel_id text NOT NULL,
    visibility text NOT NULL,
    -- The room's version when it last changed.
    version bigint NOT NULL,
    doc jsonb NOT NULL,
    results jsonb,
    UNIQUE (room_id, index)
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX events_by_key ON events (room_id, key) WHERE key IS NOT NULL;
CREATE INDEX events_by_channel_key ON events (channel_id, key) WHERE key IS NOT NULL;
CREATE INDEX events_by_visibility ON events (room_id, visibility, index)
    WHERE visibility <> 'all';

CREATE TABLE bindings (
    room_id text NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    channel_id text NOT NULL,
    seq bigint GENERATED ALWAYS AS IDENTITY,
    -- Copies of the room's, so that the oldest or newest room of a channel or person is one step.
    room_seq bigint NOT NULL,
    room_status text NOT NULL,
    room_created_at timestamptz NOT NULL,
    channel_type text NOT NULL,
    participant_id text,
    -- Which metadata may name a person, and a short form of that; null when somebody is named.
    named_by text[],
    shape text,
    doc jsonb NOT NULL,
    PRIMARY KEY (room_id, channel_id)
);
CREATE INDEX bindings_by_channel ON bindings (channel_id, room_status, room_seq);
CREATE INDEX bindings_by_shape ON bindings (channel_id, room_status, shape, room_seq)
    WHERE shape IS NOT NULL;
CREATE INDEX bindings_by_person
    ON bindings (participant_id, channel_type, room_status, room_created_at, room_seq)
    WHERE participant_id IS NOT NULL;

-- Whom bindings name: digests of normalised names, by the metadata key ('' is the participant).
CREATE TABLE room_names (
    room_id text NOT NULL,
    channel_id text NOT NULL,
    key text NOT NULL,
    name text NOT NULL,
    room_seq bigint NOT NULL,
    room_status text NOT NULL,
    PRIMARY KEY (room_id, channel_id, key)
);
CREATE INDEX room_names_by_name ON room_names (channel_id, name, room_status, room_seq);

-- Who a room was opened for, as a digest; one open room a claim.
CREATE TABLE room_claims (
    claim text PRIMARY KEY,
    room_id text NOT NULL
);
CREATE INDEX room_claims_by_room ON room_claims (room_id);

CREATE TABLE participants (
    room_id text NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    id text NOT NULL,
    seq bigint GENERATED ALWAYS AS IDENTITY,
    room_seq bigint NOT NULL,
    room_status text NOT NULL,
    room_created_at timestamptz NOT NULL,
    doc jsonb NOT NULL,
    PRIMARY KEY (room_id, id)
);
CREATE INDEX participants_by_person
    ON participants (id, room_status, room_created_at, room_seq);

CREATE TABLE identities (
    id text PRIMARY KEY,
    doc jsonb NOT NULL
);
CREATE TABLE identity_addresses (
    channel_type text NOT NULL,
    address text NOT NULL,
    identity_id text NOT NULL REFERENCES identities (id) ON DELETE CASCADE,
    PRIMARY KEY (channel_type, address)
);

CREATE TABLE tasks (
    id text PRIMARY KEY,
    seq bigint GENERATED ALWAYS AS IDENTITY,
    room_id text NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    status text NOT NULL,
    doc jsonb NOT NULL
);
CREATE INDEX tasks_by_room ON tasks (room_id, seq);

CREATE TABLE observations (
    id text PRIMARY KEY,
    seq bigint GENERATED ALWAYS AS IDENTITY,
    room_id text NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    doc jsonb NOT NULL
);
CREATE INDEX observations_by_room ON observations (room_id, seq);

CREATE TABLE read_markers (
    room_id text NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    channel_id text NOT NULL,
    -- Of the last event read.
    index bigint NOT NULL,
    PRIMARY KEY (room_id, channel_id)
);

-- What vendors call our deliveries.
CREATE TABLE sent_messages (
    message_id text PRIMARY KEY,
    event_id text NOT NULL,
    channel_id text NOT NULL
);

-- Processes that do the work below; one that has not beaten for a while has lost its claims.
CREATE TABLE workers (
    owner text PRIMARY KEY,
    beat_at timestamptz NOT NULL,
    channels text[] NOT NULL
);

CREATE TABLE deliveries (
    id text PRIMARY KEY,
    seq bigint GENERATED ALWAYS AS IDENTITY,
    room_id text NOT NULL,
    event_id text NOT NULL,
    channel_id text NOT NULL,
    kind text NOT NULL,
    direct boolean NOT NULL,
    status text NOT NULL DEFAULT 'pending',
    attempts integer NOT NULL DEFAULT 0,
    owner text,
    next_at timestamptz NOT NULL DEFAULT now(),
    written_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    error text
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX deliveries_by_lane ON deliveries (room_id, channel_id, seq)
    WHERE status = 'pending';
CREATE INDEX deliveries_by_owner ON deliveries (owner, channel_id, room_id, seq)
    WHERE status = 'pending';
CREATE INDEX deliveries_dead ON deliveries (ended_at) WHERE status = 'dead';
CREATE INDEX deliveries_dead_by_room ON deliveries (room_id) WHERE status = 'dead';
-- Small and cheap to keep: rows end about in the order they lie in.
CREATE INDEX deliveries_ended ON deliveries USING brin (ended_at) WITH (autosummarize = on);

CREATE TABLE inbox (
    id text PRIMARY KEY,
    seq bigint GENERATED ALWAYS AS IDENTITY,
    channel_id text NOT NULL,
    sender_id text NOT NULL,
    key text NOT NULL,
    -- Text, not JSON: it is given back to the letter.
    payload text NOT NULL,
    status text NOT NULL DEFAULT 'pending',
    attempts integer NOT NULL DEFAULT 0,
    owner text,
    next_at timestamptz NOT NULL DEFAULT now(),
    written_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    error text,
    UNIQUE (channel_id, key)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX inbox_by_sender ON inbox (channel_id, sender_id, seq) WHERE status = 'pending';
CREATE INDEX inbox_by_owner ON inbox (owner, channel_id, sender_id, seq)
    WHERE status = 'pending';
CREATE INDEX inbox_dead ON inbox (ended_at) WHERE status = 'dead';
CREATE INDEX inbox_ended ON inbox USING brin (ended_at) WITH (autosummarize = on);
