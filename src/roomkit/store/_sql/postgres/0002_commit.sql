-- What makes a commit and a finish one round trip each.
--
-- The functions are VOLATILE: each statement sees what was committed before it began, so that
-- what is read after the room's row was locked is what its former holder left. They turn plans
-- that scan off for themselves: plans are kept, and the first ones are made while tables are
-- empty and scanning them looks cheap.

-- Whether a worker has beaten lately (DEAD_AFTER of roomkit.store.durable).
CREATE FUNCTION roomkit_alive(p_owner text) RETURNS boolean
LANGUAGE sql STABLE AS $f$
    SELECT p_owner IS NOT NULL AND EXISTS (
        SELECT 1 FROM workers
        WHERE owner = p_owner AND beat_at > clock_timestamp() - interval '4 seconds'
    )
$f$;

-- Files bindings, participants, tasks and observations of a room whose row is locked.
CREATE FUNCTION roomkit_put_members(p_room text, p jsonb) RETURNS void
LANGUAGE plpgsql
AS $f$
DECLARE
    r record;
    b record;
BEGIN
    SELECT seq, status, created_at INTO STRICT r FROM rooms WHERE id = p_room;
    FOR b IN
        SELECT * FROM jsonb_to_recordset(p -> 'bindings') AS b(
            channel_id text, channel_type text, participant_id text, named_by text[],
            shape text, names jsonb, doc jsonb)
    LOOP
        INSERT INTO bindings AS old (room_id, channel_id, room_seq, room_status,
            room_created_at, channel_type, participant_id, named_by, shape, doc)
        VALUES (p_room, b.channel_id, r.seq, r.status, r.created_at, b.channel_type,
            b.participant_id, b.named_by, b.shape, b.doc)
        ON CONFLICT (room_id, channel_id) DO UPDATE SET channel_type = excluded.channel_type,
            participant_id = excluded.participant_id, named_by = excluded.named_by,
            shape = excluded.shape, doc = excluded.doc;
        DELETE FROM room_names WHERE room_id = p_room AND channel_id = b.channel_id;
        INSERT INTO room_names (room_id, channel_id, key, name, room_seq, room_status)
        SELECT p_room, b.channel_id, n.key, n.value, r.seq, r.status
        FROM jsonb_each_text(b.names) AS n;
    END LOOP;
    IF p ? 'removed' THEN
        DELETE FROM bindings WHERE room_id = p_room
            AND channel_id IN (SELECT jsonb_array_elements_text(p -> 'removed'));
        DELETE FROM room_names WHERE room_id = p_room
            AND channel_id IN (SELECT jsonb_array_elements_text(p -> 'removed'));
    END IF;
    IF p ? 'participants' THEN
        INSERT INTO participants (room_id, id, room_seq, room_status, room_created_at, doc)
        SELECT p_room, n.id, r.seq, r.status, r.created_at, n.doc
        FROM ROWS FROM (jsonb_to_recordset(p -> 'participants') AS (id text, doc jsonb))
            WITH ORDINALITY AS n(id, doc, n)
        ORDER BY n.n
        ON CONFLICT (room_id, id) DO UPDATE SET doc = excluded.doc;
    END IF;
    IF p ? 'tasks' THEN
        INSERT INTO tasks (id, room_id, status, doc)
        SELECT n.id, n.room_id, n.status, n.doc
        FROM ROWS FROM (jsonb_to_recordset(p -> 'tasks')
            AS (id text, room_id text, status text, doc jsonb))
            WITH ORDINALITY AS n(id, room_id, status, doc, n)
        ORDER BY n.n;
    END IF;
    IF p ? 'observations' THEN
        INSERT INTO observations (id, room_id, doc)
        SELECT n.id, n.room_id, n.doc
        FROM ROWS FROM (jsonb_to_recordset(p -> 'observations')
            AS (id text, room_id text, doc jsonb)) WITH ORDINALITY AS n(id, room_id, doc, n)
        ORDER BY n.n;
    END IF;
END
$f$;

-- Gives a room whose row is locked another document, status and timers.
CREATE FUNCTION roomkit_put_room(p_room text, p jsonb, p_forward boolean) RETURNS void
LANGUAGE plpgsql
AS $f$
DECLARE
    before record;
    n record;
BEGIN
    SELECT status, created_at, last_activity_at INTO STRICT before FROM rooms WHERE id = p_room;
    SELECT * INTO n FROM jsonb_to_record(p) AS n(status text, organization_id text,
        created_at timestamptz, last_activity_at timestamptz, due_after double precision,
        doc jsonb);
    IF p_forward THEN
        n.last_activity_at := greatest(n.last_activity_at, before.last_activity_at);
    END IF;
    UPDATE rooms SET status = n.status, organization_id = n.organization_id,
        created_at = n.created_at, last_activity_at = n.last_activity_at,
        due_after = n.due_after,
        due_at = n.last_activity_at + n.due_after * interval '1 second', doc = n.doc
    WHERE id = p_room;
    IF (before.status, before.created_at) IS DISTINCT FROM (n.status, n.created_at) THEN
        UPDATE bindings SET room_status = n.status, room_created_at = n.created_at
        WHERE room_id = p_room;
        UPDATE participants SET room_status = n.status, room_created_at = n.created_at
        WHERE room_id = p_room;
        UPDATE room_names SET room_status = n.status WHERE room_id = p_room;
    END IF;
END
$f$;

-- Ends deliveries, or gives their lanes back for a retry; the rows of their rooms are locked.
-- ``rooms`` and ``versions``: where results were told, and the version that was.
--
-- Row by row, by the primary key: a join was planned while the tables were empty, when reading
-- all of them looked cheaper than looking up some, and it would be kept while they grow.
CREATE FUNCTION roomkit_end(
    p_finishes jsonb, OUT rooms text[], OUT versions bigint[], OUT ended text[]
) LANGUAGE plpgsql
AS $f$
DECLARE
    one record;
    lane record;
    at timestamptz := clock_timestamp();
    put_off boolean := false;
    vendors boolean := false;
    told boolean := false;
    room text;
    moved bigint;
BEGIN
    ended := '{}';
    FOR one IN
        SELECT f.* FROM jsonb_to_recordset(p_finishes) AS f(id text, owner text, status text,
            attempts integer, error text, retry_in double precision, result jsonb,
            message_id text)
    LOOP
        IF one.owner IS NOT NULL THEN
            UPDATE deliveries AS d SET status = one.status, attempts = one.attempts,
                error = one.error,
                owner = CASE WHEN one.status = 'pending' THEN NULL ELSE d.owner END,
                next_at = CASE WHEN one.status = 'pending' THEN
                    at + one.retry_in * interval '1 second' ELSE d.next_at END,
                ended_at = CASE WHEN one.status = 'pending' THEN NULL ELSE at END
            WHERE d.id = one.id AND d.status || '' = 'pending' AND d.owner || '' = one.owner;
            CONTINUE WHEN NOT FOUND;
            ended := ended || one.id;
            put_off := put_off OR one.status = 'pending';
        END IF;
        told := told OR one.result IS NOT NULL;
        vendors := vendors OR one.message_id IS NOT NULL;
    END LOOP;
    IF put_off THEN
        FOR lane IN
            SELECT DISTINCT h.room_id, h.channel_id, f.owner
            FROM jsonb_to_recordset(p_finishes) AS f(id text, owner text, status text), LATERAL (
                SELECT d.room_id, d.channel_id FROM deliveries AS d WHERE d.id = f.id OFFSET 0
            ) AS h
            WHERE f.status = 'pending' AND f.id = ANY (ended)
        LOOP
            UPDATE deliveries AS d SET owner = NULL
            WHERE d.room_id = lane.room_id AND d.channel_id = lane.channel_id
                AND d.status = 'pending' AND d.owner = lane.owner;
        END LOOP;
    END IF;
    IF told THEN
        FOR one IN
            SELECT e.id, e.room_id, o.results FROM (
                SELECT f.event, jsonb_object_agg(f.channel, f.result ORDER BY f.n) AS results
                FROM jsonb_to_recordset(p_finishes) AS f(id text, owner text, event text,
                    channel text, result jsonb, n integer)
                WHERE f.result IS NOT NULL AND (f.owner IS NULL OR f.id = ANY (ended))
                GROUP BY f.event
            ) AS o, LATERAL (
                SELECT e.id, e.room_id FROM events AS e WHERE e.id = o.event OFFSET 0
            ) AS e
            ORDER BY e.room_id
        LOOP
            IF room IS DISTINCT FROM one.room_id THEN
                room := one.room_id;
                UPDATE rooms AS r SET version = r.version + 1 WHERE r.id = room
                RETURNING r.version INTO moved;
                rooms := rooms || room;
                versions := versions || moved;
            END IF;
            UPDATE events AS e SET results = coalesce(e.results, '{}') || one.results,
                version = moved
            WHERE e.id = one.id;
        END LOOP;
    END IF;
    IF vendors THEN
        INSERT INTO sent_messages (message_id, event_id, channel_id)
        SELECT DISTINCT ON (f.message_id) f.message_id, f.event, f.channel
        FROM jsonb_to_recordset(p_finishes) AS f(id text, owner text, event text,
            channel text, message_id text, n integer)
        WHERE f.message_id IS NOT NULL AND (f.owner IS NULL OR f.id = ANY (ended))
            AND EXISTS (SELECT 1 FROM events AS e WHERE e.id = f.event OFFSET 0)
        ORDER BY f.message_id, f.n DESC
        ON CONFLICT (message_id) DO UPDATE
        SET event_id = excluded.event_id, channel_id = excluded.channel_id
        WHERE (sent_messages.event_id, sent_messages.channel_id)
            IS DISTINCT FROM (excluded.event_id, excluded.channel_id);
    END IF;
END
$f$;

-- The rooms of deliveries that end, in the order in which they are locked.
CREATE FUNCTION roomkit_rooms_of(p_finishes jsonb) RETURNS text[]
LANGUAGE sql STABLE
AS $f$
    SELECT array_agg(DISTINCT coalesce(f.room,
        (SELECT d.room_id FROM deliveries AS d WHERE d.id = f.id),
        (SELECT e.room_id FROM events AS e WHERE e.id = f.event)))
    FROM jsonb_to_recordset(p_finishes) AS f(id text, room text, event text)
$f$;

-- ``ConversationStore.finish_deliveries`` for a durable store.
CREATE FUNCTION roomkit_finish(
    p_finishes jsonb, OUT rooms text[], OUT versions bigint[], OUT ended text[],
    OUT lane_rooms text[], OUT lane_channels text[]
) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $f$
DECLARE
    ids text[] := roomkit_rooms_of(p_finishes);
BEGIN
    PERFORM 1 FROM rooms AS r WHERE r.id = ANY (ids) ORDER BY r.id FOR NO KEY UPDATE;
    SELECT e.rooms, e.versions, e.ended INTO rooms, versions, ended
    FROM roomkit_end(p_finishes) AS e;
    SELECT array_agg(lane.room), array_agg(lane.channel) INTO lane_rooms, lane_channels
    FROM (
        SELECT DISTINCT coalesce(f.room, (SELECT d.room_id FROM deliveries AS d WHERE d.id = f.id))
            AS room, f.channel
        FROM jsonb_to_recordset(p_finishes) AS f(id text, room text, channel text)
    ) AS lane, LATERAL (
        SELECT h.owner, h.next_at FROM deliveries AS h
        WHERE h.room_id = lane.room AND h.channel_id = lane.channel AND h.status = 'pending'
        ORDER BY h.seq LIMIT 1
    ) AS head
    WHERE head.owner IS NULL AND head.next_at <= clock_timestamp();
END
$f$;

-- Writes the deliveries of a commit; the room's row is locked. ``p_owner`` gets those of free
-- lanes; ``wake``: whether others should hear of the rest.
CREATE FUNCTION roomkit_put_deliveries(
    p_room text, p_owner text, d_id text[], d_event text[], d_channel text[], d_kind text[],
    d_direct boolean[], d_claim boolean[], OUT unclaimed text[], OUT wake boolean
) LANGUAGE plpgsql
AS $f$
DECLARE
    at timestamptz := clock_timestamp();
    last record;
    free text[] := '{}';
    taken text[] := '{}';
    target text;
    who text;
BEGIN
    wake := false;
    FOR i IN 1 .. cardinality(d_id) LOOP
        target := d_channel[i];
        IF NOT (target = ANY (free) OR target = ANY (taken)) THEN
            -- The last one tells: those of one owner come first, then unclaimed ones.
            SELECT d.owner INTO last FROM deliveries AS d
            WHERE d.room_id = p_room AND d.channel_id = target AND d.status = 'pending'
            ORDER BY d.seq DESC LIMIT 1;
            IF p_owner IS NOT NULL AND (NOT FOUND OR last.owner = p_owner) THEN
                free := free || target;
            ELSE
                taken := taken || target;
            END IF;
        END IF;
        IF NOT d_claim[i] AND target = ANY (free) THEN
            free := array_remove(free, target);
            taken := taken || target;
        END IF;
        who := CASE WHEN target = ANY (free) THEN p_owner END;
        IF who IS NULL THEN
            unclaimed := unclaimed || d_id[i];
        END IF;
        INSERT INTO deliveries (id, room_id, event_id, channel_id, kind, direct, owner,
            next_at, written_at)
        VALUES (d_id[i], p_room, d_event[i], target, d_kind[i], d_direct[i], who, at, at);
    END LOOP;
    IF unclaimed IS NOT NULL THEN
        SELECT true INTO wake FROM unnest(taken) AS lane, LATERAL (
            SELECT h.owner, h.next_at FROM deliveries AS h
            WHERE h.room_id = p_room AND h.channel_id = lane AND h.status = 'pending'
            ORDER BY h.seq LIMIT 1
        ) AS head
        WHERE head.next_at <= clock_timestamp() AND NOT roomkit_alive(head.owner) LIMIT 1;
        wake := coalesce(wake, false);
    END IF;
END
$f$;

-- ``ConversationStore.commit``: all of a batch, or the reason why not.
CREATE FUNCTION roomkit_commit(
    p_room text, p_open boolean, p_owner text,
    e_id text[], e_key text[], e_channel text[], e_visibility text[], e_doc jsonb[],
    e_results jsonb[], p_activity timestamptz,
    d_id text[], d_event text[], d_channel text[], d_kind text[], d_direct boolean[],
    d_claim boolean[], p_guard bigint, p_more jsonb,
    OUT outcome text, OUT version bigint, OUT first_index bigint, OUT unclaimed text[],
    OUT wake boolean, OUT first_doc jsonb, OUT first_results jsonb, OUT rooms text[],
    OUT versions bigint[], OUT ended text[]
) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $f$
DECLARE
    r record;
    edited boolean := false;
    members boolean := false;
    added integer := coalesce(cardinality(e_id), 0);
    ids text[];
BEGIN
    IF p_more ? 'finishes' THEN
        ids := p_room || roomkit_rooms_of(p_more -> 'finishes');
        PERFORM 1 FROM rooms AS o WHERE o.id = ANY (ids) ORDER BY o.id FOR NO KEY UPDATE;
    END IF;
    SELECT o.status, o.event_count, o.version, o.members_version INTO r
    FROM rooms AS o WHERE o.id = p_room FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        outcome := CASE WHEN p_open THEN 'room_closed' ELSE 'no_room' END;
        RETURN;
    END IF;
    IF e_key IS NOT NULL THEN
        SELECT e.index, e.doc, e.results INTO first_index, first_doc, first_results
        FROM events AS e WHERE e.room_id = p_room AND e.key = ANY (e_key)
        ORDER BY array_position(e_key, e.key) LIMIT 1;
        IF FOUND THEN
            outcome := 'duplicate';
            RETURN;
        END IF;
        IF p_more ? 'repeated' THEN
            outcome := 'repeated';
            RETURN;
        END IF;
    END IF;
    IF p_open AND r.status NOT IN ('active', 'paused') THEN
        outcome := 'room_closed';
        RETURN;
    END IF;
    IF r.members_version <> p_guard THEN
        outcome := 'stale_context';
        RETURN;
    END IF;
    IF p_more IS NOT NULL AND NOT roomkit_holds(p_owner, p_more) THEN
        outcome := 'lease_lost';
        RETURN;
    END IF;
    version := r.version + 1;
    first_index := r.event_count;
    FOR i IN 1 .. added LOOP
        INSERT INTO events (id, room_id, index, key, channel_id, visibility, version, doc,
            results)
        VALUES (e_id[i], p_room, r.event_count + i - 1, e_key[i], e_channel[i],
            e_visibility[i], r.version + 1, e_doc[i], e_results[i]);
    END LOOP;
    IF p_more ? 'target' THEN
        UPDATE events AS e SET doc = p_more -> 'target' -> 'doc', version = r.version + 1,
            visibility = p_more -> 'target' ->> 'visibility'
        WHERE e.id = p_more -> 'target' ->> 'id' AND e.room_id = p_room;
        edited := FOUND;
    END IF;
    IF p_more ? 'room' THEN
        members := true;
        PERFORM roomkit_put_room(p_room, p_more -> 'room', true);
    END IF;
    IF p_more ? 'members' THEN
        members := true;
        PERFORM roomkit_put_members(p_room, p_more -> 'members');
    END IF;
    UPDATE rooms AS o SET version = r.version + 1, event_count = o.event_count + added,
        last_activity_at = greatest(o.last_activity_at, p_activity),
        due_at = CASE WHEN o.due_at IS NULL AND o.due_after IS NOT NULL THEN
            greatest(o.last_activity_at, p_activity) + o.due_after * interval '1 second'
            ELSE o.due_at END,
        members_version = CASE WHEN members THEN r.version + 1 ELSE o.members_version END,
        edits_version = CASE WHEN edited THEN r.version + 1 ELSE o.edits_version END
    WHERE o.id = p_room;
    IF p_more ? 'finishes' THEN
        SELECT f.rooms, f.versions, f.ended INTO rooms, versions, ended
        FROM roomkit_end(p_more -> 'finishes') AS f;
    END IF;
    IF p_more ? 'inbox' THEN
        UPDATE inbox AS i SET status = 'done', ended_at = clock_timestamp(), error = NULL
        WHERE i.id = p_more ->> 'inbox';
    END IF;
    IF d_id IS NOT NULL THEN
        SELECT d.unclaimed, d.wake INTO unclaimed, wake FROM roomkit_put_deliveries(
            p_room, p_owner, d_id, d_event, d_channel, d_kind, d_direct, d_claim) AS d;
    END IF;
    outcome := 'ok';
END
$f$;

-- Whether all that a commit would end is still its owner's.
CREATE FUNCTION roomkit_holds(p_owner text, p_more jsonb) RETURNS boolean
LANGUAGE plpgsql
AS $f$
BEGIN
    IF p_more ? 'finishes' AND EXISTS (
        SELECT 1 FROM jsonb_to_recordset(p_more -> 'finishes') AS f(id text, owner text)
        WHERE f.owner IS NOT NULL AND NOT EXISTS (
            SELECT 1 FROM deliveries AS d
            WHERE d.id = f.id AND d.status || '' = 'pending' AND d.owner || '' = f.owner
            OFFSET 0)
    ) THEN
        RETURN false;
    END IF;
    IF p_more ? 'inbox' THEN
        PERFORM 1 FROM inbox AS i WHERE i.id = p_more ->> 'inbox'
            AND i.status = 'pending' AND i.owner = p_owner FOR NO KEY UPDATE;
        RETURN FOUND;
    END IF;
    RETURN true;
END
$f$;

-- ``ConversationStore.open_room``: one ACTIVE room a claim, over all processes.
CREATE FUNCTION roomkit_open_room(
    p_claim text, p_room text, p jsonb, p_members jsonb,
    e_id text[], e_key text[], e_channel text[], e_visibility text[], e_doc jsonb[],
    e_results jsonb[], OUT room_id text, OUT created boolean
) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $f$
BEGIN
    -- The second of two that open the same waits here, and then sees the first one's.
    INSERT INTO room_claims AS c (claim, room_id) VALUES (p_claim, p_room)
    ON CONFLICT (claim) DO UPDATE SET room_id = c.room_id;
    SELECT r.id INTO room_id FROM room_claims AS c JOIN rooms AS r ON r.id = c.room_id
    WHERE c.claim = p_claim AND r.status = 'active';
    IF FOUND THEN
        created := false;
        RETURN;
    END IF;
    UPDATE room_claims AS c SET room_id = p_room WHERE c.claim = p_claim;
    PERFORM roomkit_create_room(p_room, p);
    PERFORM roomkit_put_members(p_room, p_members);
    INSERT INTO events (id, room_id, index, key, channel_id, visibility, version, doc, results)
    SELECT e_id[i], p_room, i - 1, e_key[i], e_channel[i], e_visibility[i], r.version,
        e_doc[i], e_results[i]
    FROM generate_subscripts(e_id, 1) AS i, rooms AS r WHERE r.id = p_room;
    UPDATE rooms SET event_count = coalesce(cardinality(e_id), 0) WHERE id = p_room;
    room_id := p_room;
    created := true;
END
$f$;

-- Makes a room; its version starts above any an earlier room of the id can have had.
CREATE FUNCTION roomkit_create_room(p_room text, p jsonb) RETURNS bigint
LANGUAGE sql AS $f$
    INSERT INTO rooms (id, status, organization_id, created_at, last_activity_at, due_after,
        due_at, version, members_version, edits_version, doc)
    SELECT p_room, n.status, n.organization_id, n.created_at, n.last_activity_at, n.due_after,
        n.last_activity_at + n.due_after * interval '1 second', v, v, v, n.doc
    FROM jsonb_to_record(p) AS n(status text, organization_id text, created_at timestamptz,
        last_activity_at timestamptz, due_after double precision, doc jsonb),
        cast(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint) AS v
    RETURNING version
$f$;
