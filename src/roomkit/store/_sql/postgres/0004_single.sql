-- ``ConversationStore.look``: a room's row, what moved since the versions that are known, and the
-- event of a key. STABLE: all its statements see one moment.
CREATE FUNCTION roomkit_look(
    p_room text, p_version bigint, p_members bigint, p_key text,
    OUT version bigint, OUT members_version bigint, OUT edits_version bigint,
    OUT event_count bigint, OUT last_activity_at timestamptz, OUT status text, OUT doc jsonb,
    OUT bindings jsonb[], OUT participants jsonb[], OUT places bigint[], OUT docs jsonb[],
    OUT results jsonb[], OUT key_index bigint, OUT key_doc jsonb, OUT key_results jsonb
) LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $f$
BEGIN
    SELECT r.version, r.members_version, r.edits_version, r.event_count, r.last_activity_at,
        r.status
    INTO version, members_version, edits_version, event_count, last_activity_at, status
    FROM rooms AS r WHERE r.id = p_room;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF p_key IS NOT NULL THEN
        SELECT e.index, e.doc, e.results INTO key_index, key_doc, key_results
        FROM events AS e WHERE e.room_id = p_room AND e.key = p_key;
    END IF;
    IF version > p_version THEN
        SELECT array_agg(e.index), array_agg(e.doc), array_agg(e.results)
        INTO places, docs, results
        FROM (
            SELECT o.index, o.doc, o.results FROM events AS o
            WHERE o.room_id = p_room AND o.index >= roomkit_look.event_count - 50
                AND o.version > p_version
            ORDER BY o.index
        ) AS e;
    END IF;
    IF members_version > p_members THEN
        SELECT r.doc INTO doc FROM rooms AS r WHERE r.id = p_room;
        bindings := ARRAY(
            SELECT b.doc FROM bindings AS b WHERE b.room_id = p_room ORDER BY b.seq);
        participants := ARRAY(
            SELECT p.doc FROM participants AS p WHERE p.room_id = p_room ORDER BY p.seq);
    END IF;
END
$f$;

-- Single writes beside the commit. Each locks the room's row and moves its version, so that
-- every process that knows the room hears of it at its next look.

-- Changes members of a room; null when there is no such room, or not the binding or
-- participant ``p_id`` that has to be there.
CREATE FUNCTION roomkit_change_members(p_room text, p_there text, p_id text, p jsonb)
RETURNS bigint LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $f$
DECLARE
    moved bigint;
BEGIN
    PERFORM 1 FROM rooms WHERE id = p_room FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF p_there = 'binding' THEN
        PERFORM 1 FROM bindings WHERE room_id = p_room AND channel_id = p_id;
    ELSIF p_there = 'participant' THEN
        PERFORM 1 FROM participants WHERE room_id = p_room AND id = p_id;
    END IF;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    PERFORM roomkit_put_members(p_room, p);
    UPDATE rooms SET version = version + 1, members_version = version + 1 WHERE id = p_room
    RETURNING version INTO moved;
    RETURN moved;
END
$f$;

CREATE FUNCTION roomkit_update_room(p_room text, p jsonb) RETURNS bigint LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $f$
DECLARE
    moved bigint;
BEGIN
    PERFORM 1 FROM rooms WHERE id = p_room FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    PERFORM roomkit_put_room(p_room, p, false);
    UPDATE rooms SET version = version + 1, members_version = version + 1 WHERE id = p_room
    RETURNING version INTO moved;
    RETURN moved;
END
$f$;

CREATE FUNCTION roomkit_update_event(
    p_id text, p_visibility text, p_doc jsonb, p_results jsonb,
    OUT room text, OUT moved bigint
) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $f$
BEGIN
    SELECT e.room_id INTO room FROM events AS e WHERE e.id = p_id;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM 1 FROM rooms AS r WHERE r.id = room FOR NO KEY UPDATE;
    UPDATE rooms AS r SET version = r.version + 1, edits_version = r.version + 1
    WHERE r.id = room RETURNING r.version INTO moved;
    UPDATE events AS e
    SET visibility = p_visibility, doc = p_doc, results = p_results, version = moved
    WHERE e.id = p_id;
    INSERT INTO sent_messages AS s (message_id, event_id, channel_id)
    SELECT n.value ->> 'provider_message_id', p_id, n.key FROM jsonb_each(p_results) AS n
    WHERE length(n.value ->> 'provider_message_id') BETWEEN 1 AND 200
    ON CONFLICT (message_id) DO NOTHING;
END
$f$;

-- Removes a room with all that belongs to it, but for finished deliveries (purge has those).
CREATE FUNCTION roomkit_delete_room(p_room text) RETURNS boolean LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $f$
BEGIN
    PERFORM 1 FROM rooms WHERE id = p_room FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM sent_messages AS s USING (
        SELECT e.id, n.value ->> 'provider_message_id' AS message_id
        FROM events AS e, jsonb_each(e.results) AS n
        WHERE e.room_id = p_room AND e.results IS NOT NULL
    ) AS sent WHERE s.message_id = sent.message_id AND s.event_id = sent.id;
    DELETE FROM events WHERE room_id = p_room;
    DELETE FROM deliveries WHERE room_id = p_room AND status = 'pending';
    DELETE FROM deliveries WHERE room_id = p_room AND status = 'dead';
    DELETE FROM room_names WHERE room_id = p_room;
    DELETE FROM room_claims WHERE room_id = p_room;
    DELETE FROM rooms WHERE id = p_room;
    RETURN true;
END
$f$;
