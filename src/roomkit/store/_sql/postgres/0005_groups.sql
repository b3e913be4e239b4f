-- Commits of different rooms in one transaction, and so with one wait for the disk.
--
-- A waiting room must not hold up the others for long: then the group fails as a whole, with
-- nothing written, and is taken apart by whoever sent it.

-- ``ConversationStore.commit`` for batches of one event each, of different rooms; what is not
-- written of one is no concern of the others. ``d_place``: which batch a delivery is of, from 1.
CREATE FUNCTION roomkit_commit_group(
    g_room text[], g_open boolean[], g_owner text[], g_guard bigint[],
    g_activity timestamptz[], e_id text[], e_key text[], e_channel text[],
    e_visibility text[], e_doc jsonb[],
    d_place integer[], d_id text[], d_event text[], d_channel text[], d_kind text[],
    d_direct boolean[], d_claim boolean[],
    OUT outcomes text[], OUT versions bigint[], OUT places bigint[], OUT docs jsonb[],
    OUT results jsonb[], OUT left_places integer[], OUT left_ids text[], OUT wakes boolean[]
) LANGUAGE plpgsql
SET lock_timeout = '500ms'
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $f$
DECLARE
    at timestamptz;
BEGIN
    PERFORM 1 FROM rooms AS r WHERE r.id = ANY (g_room) ORDER BY r.id FOR NO KEY UPDATE;
    SELECT
        array_agg(CASE
            WHEN r.id IS NULL AND g.open THEN 'room_closed'
            WHEN r.id IS NULL THEN 'no_room'
            WHEN e.index IS NOT NULL THEN 'duplicate'
            WHEN g.open AND r.status NOT IN ('active', 'paused') THEN 'room_closed'
            WHEN r.members_version <> g.guard THEN 'stale_context'
            ELSE 'ok'
        END ORDER BY g.n),
        array_agg(r.version + 1 ORDER BY g.n),
        array_agg(coalesce(e.index, r.event_count) ORDER BY g.n),
        array_agg(e.doc ORDER BY g.n) FILTER (WHERE e.index IS NOT NULL),
        array_agg(e.results ORDER BY g.n) FILTER (WHERE e.index IS NOT NULL)
    INTO outcomes, versions, places, docs, results
    FROM unnest(g_room, g_open, g_guard, e_key) WITH ORDINALITY AS g(room, open, guard, key, n)
    -- OFFSET keeps them look-ups: see ``roomkit_end``.
    LEFT JOIN LATERAL (
        SELECT o.id, o.status, o.version, o.members_version, o.event_count FROM rooms AS o
        WHERE o.id = g.room OFFSET 0
    ) AS r ON true
    LEFT JOIN LATERAL (
        SELECT o.index, o.doc, o.results FROM events AS o
        WHERE o.room_id = g.room AND o.key = g.key OFFSET 0
    ) AS e ON true;
    INSERT INTO events (id, room_id, index, key, channel_id, visibility, version, doc)
    SELECT g.id, g.room, g.place, g.key, g.channel, g.visibility, g.version, g.doc
    FROM unnest(outcomes, versions, places, g_room, e_id, e_key, e_channel, e_visibility, e_doc)
        AS g(outcome, version, place, room, id, key, channel, visibility, doc)
    WHERE g.outcome = 'ok';
    UPDATE rooms AS r SET version = g.version, event_count = r.event_count + 1,
        last_activity_at = greatest(r.last_activity_at, g.activity),
        due_at = CASE WHEN r.due_at IS NULL AND r.due_after IS NOT NULL THEN
            greatest(r.last_activity_at, g.activity) + r.due_after * interval '1 second'
            ELSE r.due_at END
    FROM unnest(outcomes, versions, g_room, g_activity) AS g(outcome, version, room, activity)
    WHERE r.id = g.room AND g.outcome = 'ok';
    IF d_id IS NULL THEN
        RETURN;
    END IF;
    at := clock_timestamp();
    WITH plan AS MATERIALIZED (
        -- As ``roomkit_put_deliveries``: the last one of a lane tells whose it is.
        SELECT d.n, d.place, d.id, d.event, d.channel, d.kind, d.direct, g_room[d.place] AS room,
            CASE WHEN bool_and(d.claim) OVER (PARTITION BY d.place, d.channel ORDER BY d.n)
                AND coalesce(last.free, g_owner[d.place] IS NOT NULL)
                THEN g_owner[d.place] END AS owner
        FROM unnest(d_place, d_id, d_event, d_channel, d_kind, d_direct, d_claim)
            WITH ORDINALITY AS d(place, id, event, channel, kind, direct, claim, n)
        LEFT JOIN LATERAL (
            SELECT coalesce(o.owner = g_owner[d.place], false) AS free FROM deliveries AS o
            WHERE o.room_id = g_room[d.place] AND o.channel_id = d.channel
                AND o.status = 'pending'
            ORDER BY o.seq DESC LIMIT 1
        ) AS last ON true
        WHERE outcomes[d.place] = 'ok'
    ), written AS (
        INSERT INTO deliveries (id, room_id, event_id, channel_id, kind, direct, owner, next_at,
            written_at)
        SELECT p.id, p.room, p.event, p.channel, p.kind, p.direct, p.owner, at, at
        FROM plan AS p ORDER BY p.n
    )
    SELECT array_agg(p.place), array_agg(p.id) INTO left_places, left_ids
    FROM plan AS p WHERE p.owner IS NULL;
    IF left_ids IS NOT NULL THEN
        SELECT array_agg(coalesce((
            SELECT h.next_at <= clock_timestamp() AND NOT roomkit_alive(h.owner)
            FROM deliveries AS h
            WHERE h.room_id = d.room_id AND h.channel_id = d.channel_id
                AND h.status = 'pending'
            ORDER BY h.seq LIMIT 1
        ), false)) INTO wakes
        FROM unnest(left_ids) AS l(id) JOIN deliveries AS d ON d.id = l.id;
    END IF;
END
$f$;

-- A commit, and before it ends of deliveries that waited for it; refused or not, those count.
CREATE FUNCTION roomkit_commit_with(
    p_ends jsonb, p_room text, p_open boolean, p_owner text,
    e_id text[], e_key text[], e_channel text[], e_visibility text[], e_doc jsonb[],
    e_results jsonb[], p_activity timestamptz,
    d_id text[], d_event text[], d_channel text[], d_kind text[], d_direct boolean[],
    d_claim boolean[], p_guard bigint, p_more jsonb,
    OUT outcome text, OUT version bigint, OUT first_index bigint, OUT unclaimed text[],
    OUT wake boolean, OUT first_doc jsonb, OUT first_results jsonb, OUT rooms text[],
    OUT versions bigint[], OUT ended text[],
    OUT end_rooms text[], OUT end_versions bigint[], OUT end_ids text[],
    OUT lane_rooms text[], OUT lane_channels text[]
) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $f$
DECLARE
    ids text[] := p_room
        || roomkit_rooms_of(p_ends || coalesce(p_more -> 'finishes', '[]'::jsonb));
BEGIN
    PERFORM 1 FROM rooms AS r WHERE r.id = ANY (ids) ORDER BY r.id FOR NO KEY UPDATE;
    SELECT f.rooms, f.versions, f.ended, f.lane_rooms, f.lane_channels
    INTO end_rooms, end_versions, end_ids, lane_rooms, lane_channels
    FROM roomkit_finish(p_ends) AS f;
    SELECT c.* INTO outcome, version, first_index, unclaimed, wake, first_doc, first_results,
        rooms, versions, ended
    FROM roomkit_commit(p_room, p_open, p_owner, e_id, e_key, e_channel, e_visibility, e_doc,
        e_results, p_activity, d_id, d_event, d_channel, d_kind, d_direct, d_claim, p_guard,
        p_more) AS c;
END
$f$;
