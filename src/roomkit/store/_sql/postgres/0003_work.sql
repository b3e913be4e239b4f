-- Claiming and giving back work. Candidates are found without a lock; what they look like is
-- read again by a second statement once the rows that serialise are locked.

-- ``DurableStore.claim_deliveries``; ``p_rooms`` and ``p_lanes`` name lanes pairwise, or null.
CREATE FUNCTION roomkit_claim_deliveries(
    p_owner text, p_channels text[], p_rooms text[], p_lanes text[], p_limit integer,
    p_per_lane integer
) RETURNS TABLE (
    id text, room_id text, event_id text, channel_id text, kind text, direct boolean,
    attempts integer
) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $f$
#variable_conflict use_column
DECLARE
    rooms_of text[];
    channels_of text[];
    mine text[];
BEGIN
    IF p_rooms IS NULL THEN
        SELECT array_agg(l.room_id ORDER BY l.seq), array_agg(l.channel_id ORDER BY l.seq)
        INTO rooms_of, channels_of FROM roomkit_open_lanes(p_channels, p_limit) AS l;
    ELSE
        SELECT array_agg(l.room_id ORDER BY l.seq), array_agg(l.channel_id ORDER BY l.seq)
        INTO rooms_of, channels_of
        FROM (
            SELECT g.room_id, g.channel_id, h.seq
            FROM (SELECT DISTINCT * FROM unnest(p_rooms, p_lanes)) AS g(room_id, channel_id),
            LATERAL (
                SELECT d.seq FROM deliveries AS d
                WHERE d.room_id = g.room_id AND d.channel_id = g.channel_id
                    AND d.status = 'pending'
                ORDER BY d.seq LIMIT 1
            ) AS h
            WHERE g.channel_id = ANY (p_channels)
            ORDER BY h.seq LIMIT p_limit
        ) AS l;
    END IF;
    IF rooms_of IS NULL THEN
        RETURN;
    END IF;
    PERFORM 1 FROM rooms AS r WHERE r.id = ANY (rooms_of) ORDER BY r.id FOR NO KEY UPDATE;
    WITH lane AS MATERIALIZED (
        SELECT l.room_id, l.channel_id, l.n
        FROM unnest(rooms_of, channels_of) WITH ORDINALITY AS l(room_id, channel_id, n),
        LATERAL (
            SELECT d.owner, d.next_at FROM deliveries AS d
            WHERE d.room_id = l.room_id AND d.channel_id = l.channel_id
                AND d.status = 'pending'
            ORDER BY d.seq LIMIT 1
        ) AS h
        WHERE h.next_at <= clock_timestamp() AND NOT roomkit_alive(h.owner)
    ), nth AS MATERIALIZED (
        -- From the head up to the first that is somebody's.
        SELECT d.id, lane.n, d.seq,
            bool_and(d.owner IS NULL OR NOT roomkit_alive(d.owner)) OVER w AS nobodys
        FROM lane, LATERAL (
            SELECT o.id, o.seq, o.owner FROM deliveries AS o
            WHERE o.room_id = lane.room_id AND o.channel_id = lane.channel_id
                AND o.status = 'pending'
            ORDER BY o.seq LIMIT p_per_lane
        ) AS d
        WINDOW w AS (PARTITION BY lane.n ORDER BY d.seq)
    )
    SELECT array_agg(nth.id ORDER BY nth.n, nth.seq) INTO mine FROM nth WHERE nth.nobodys;
    -- By their ids in an array, which no plan joins with the whole table (see roomkit_end).
    UPDATE deliveries AS d SET owner = p_owner WHERE d.id = ANY (mine);
    RETURN QUERY
    SELECT m.id, m.room_id, m.event_id, m.channel_id, m.kind, m.direct, m.attempts
    FROM unnest(mine) WITH ORDINALITY AS o(id, n), LATERAL (
        SELECT d.* FROM deliveries AS d WHERE d.id = o.id OFFSET 0
    ) AS m
    ORDER BY o.n;
    -- What a dead worker held beyond that is nobody's now, not its: a lane has one owner.
    UPDATE deliveries AS d SET owner = NULL
    FROM unnest(rooms_of, channels_of) AS l(room_id, channel_id)
    WHERE d.room_id = l.room_id AND d.channel_id = l.channel_id AND d.status = 'pending'
        AND d.owner IS NOT NULL AND d.owner <> p_owner AND NOT roomkit_alive(d.owner);
END
$f$;

-- Lanes of some channels whose first pending record is due and nobody's, oldest first. Lanes
-- with something unclaimed, or of a dead worker, are hopped through, not their records.
CREATE FUNCTION roomkit_open_lanes(p_channels text[], p_limit integer)
RETURNS TABLE (room_id text, channel_id text, seq bigint) LANGUAGE sql STABLE
AS $f$
    WITH RECURSIVE holders AS (
        (SELECT d.owner FROM deliveries AS d
         WHERE d.status = 'pending' AND d.owner IS NOT NULL ORDER BY d.owner LIMIT 1)
        UNION ALL
        SELECT (SELECT d.owner FROM deliveries AS d
            WHERE d.status = 'pending' AND d.owner > holders.owner ORDER BY d.owner LIMIT 1)
        FROM holders WHERE holders.owner IS NOT NULL
    ), dead AS (
        SELECT h.owner FROM holders AS h WHERE h.owner IS NOT NULL AND NOT roomkit_alive(h.owner)
    ), free AS (
        (SELECT c.channel_id, (
            SELECT d.room_id FROM deliveries AS d
            WHERE d.status = 'pending' AND d.owner IS NULL AND d.channel_id = c.channel_id
            ORDER BY d.room_id LIMIT 1) AS room_id
         FROM unnest(p_channels) AS c(channel_id))
        UNION ALL
        SELECT free.channel_id, (
            SELECT d.room_id FROM deliveries AS d
            WHERE d.status = 'pending' AND d.owner IS NULL AND d.channel_id = free.channel_id
                AND d.room_id > free.room_id
            ORDER BY d.room_id LIMIT 1)
        FROM free WHERE free.room_id IS NOT NULL
    ), left_by AS (
        (SELECT c.channel_id, dead.owner, (
            SELECT d.room_id FROM deliveries AS d
            WHERE d.status = 'pending' AND d.owner = dead.owner AND d.channel_id = c.channel_id
            ORDER BY d.room_id LIMIT 1) AS room_id
         FROM unnest(p_channels) AS c(channel_id), dead)
        UNION ALL
        SELECT l.channel_id, l.owner, (
            SELECT d.room_id FROM deliveries AS d
            WHERE d.status = 'pending' AND d.owner = l.owner AND d.channel_id = l.channel_id
                AND d.room_id > l.room_id
            ORDER BY d.room_id LIMIT 1)
        FROM left_by AS l WHERE l.room_id IS NOT NULL
    ), lanes AS (
        SELECT f.room_id, f.channel_id FROM free AS f WHERE f.room_id IS NOT NULL
        UNION
        SELECT l.room_id, l.channel_id FROM left_by AS l WHERE l.room_id IS NOT NULL
    )
    SELECT lanes.room_id, lanes.channel_id, head.seq
    FROM lanes, LATERAL (
        SELECT d.seq, d.owner, d.next_at FROM deliveries AS d
        WHERE d.room_id = lanes.room_id AND d.channel_id = lanes.channel_id
            AND d.status = 'pending'
        ORDER BY d.seq LIMIT 1
    ) AS head
    WHERE head.next_at <= clock_timestamp()
        AND (head.owner IS NULL OR head.owner IN (SELECT dead.owner FROM dead))
    ORDER BY head.seq LIMIT p_limit
$f$;

-- Makes unclaimed what a worker holds, but for some and what is younger than a while.
CREATE FUNCTION roomkit_release_deliveries(
    p_owner text, p_known text[], p_older_than double precision
) RETURNS bigint LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $f$
DECLARE
    found_ids text[];
    changed bigint;
BEGIN
    SELECT array_agg(d.id) INTO found_ids FROM deliveries AS d
    WHERE d.status = 'pending' AND d.owner = p_owner
        AND d.written_at <= clock_timestamp() - p_older_than * interval '1 second'
        AND NOT d.id = ANY (p_known);
    IF found_ids IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM 1 FROM rooms AS r WHERE r.id IN (
        SELECT d.room_id FROM deliveries AS d WHERE d.id = ANY (found_ids)
    ) ORDER BY r.id FOR NO KEY UPDATE;
    UPDATE deliveries AS d SET owner = NULL
    WHERE d.id = ANY (found_ids) AND d.status = 'pending' AND d.owner = p_owner;
    GET DIAGNOSTICS changed = ROW_COUNT;
    RETURN changed;
END
$f$;

-- Lets unclaimed records die whose channel no living worker has; at most 1,000.
CREATE FUNCTION roomkit_expire_deliveries(p_older_than double precision)
RETURNS SETOF deliveries LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $f$
DECLARE
    found_ids text[];
    nobodys text[];
BEGIN
    -- What a dead worker holds is nobody's as well.
    UPDATE deliveries AS d SET owner = NULL
    WHERE d.status = 'pending' AND d.owner IN (
        SELECT o.owner FROM (
            SELECT DISTINCT p.owner FROM deliveries AS p
            WHERE p.status = 'pending' AND p.owner IS NOT NULL
        ) AS o WHERE NOT roomkit_alive(o.owner));
    WITH RECURSIVE waiting AS (
        (SELECT d.channel_id FROM deliveries AS d
         WHERE d.status = 'pending' AND d.owner IS NULL ORDER BY d.channel_id LIMIT 1)
        UNION ALL
        SELECT (SELECT d.channel_id FROM deliveries AS d
            WHERE d.status = 'pending' AND d.owner IS NULL
                AND d.channel_id > waiting.channel_id
            ORDER BY d.channel_id LIMIT 1)
        FROM waiting WHERE waiting.channel_id IS NOT NULL
    )
    SELECT array_agg(w.channel_id) INTO nobodys FROM waiting AS w
    WHERE w.channel_id IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM workers AS k
        WHERE w.channel_id = ANY (k.channels) AND roomkit_alive(k.owner));
    SELECT array_agg(o.id) INTO found_ids FROM (
        SELECT d.id FROM deliveries AS d
        WHERE d.status = 'pending' AND d.owner IS NULL AND d.channel_id = ANY (nobodys)
            AND d.written_at <= clock_timestamp() - p_older_than * interval '1 second'
        ORDER BY d.seq LIMIT 1000
    ) AS o;
    IF found_ids IS NULL THEN
        RETURN;
    END IF;
    PERFORM 1 FROM rooms AS r WHERE r.id IN (
        SELECT d.room_id FROM deliveries AS d WHERE d.id = ANY (found_ids)
    ) ORDER BY r.id FOR NO KEY UPDATE;
    RETURN QUERY UPDATE deliveries AS d
    SET status = 'dead', error = 'channel_not_registered', ended_at = clock_timestamp()
    WHERE d.id = ANY (found_ids) AND d.status = 'pending' AND d.owner IS NULL
    RETURNING d.*;
END
$f$;

-- Forgets a worker; what it held becomes unclaimed.
CREATE FUNCTION roomkit_retire(p_owner text) RETURNS void LANGUAGE plpgsql
AS $f$
BEGIN
    DELETE FROM workers WHERE owner = p_owner;
    PERFORM roomkit_release_deliveries(p_owner, '{}', 0);
    PERFORM roomkit_release_inbox(p_owner);
END
$f$;

CREATE FUNCTION roomkit_release_inbox(p_owner text) RETURNS void LANGUAGE sql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $f$
    UPDATE inbox SET owner = NULL WHERE id IN (
        SELECT id FROM inbox WHERE status = 'pending' AND owner = p_owner
        ORDER BY seq FOR NO KEY UPDATE)
$f$;

-- ``DurableStore.accept``: once per channel and key.
CREATE FUNCTION roomkit_accept(
    p_id text, p_channel text, p_sender text, p_key text, p_payload text,
    p_delay double precision, p_replace boolean, OUT row_id text, OUT is_new boolean
) LANGUAGE plpgsql
AS $f$
DECLARE
    due timestamptz := clock_timestamp() + p_delay * interval '1 second';
BEGIN
    INSERT INTO inbox AS i (id, channel_id, sender_id, key, payload, next_at, written_at)
    VALUES (p_id, p_channel, p_sender, p_key, p_payload, due, clock_timestamp())
    ON CONFLICT (channel_id, key) DO UPDATE SET payload = p_payload, next_at = due
    WHERE p_replace AND i.status = 'pending' AND i.owner IS NULL AND i.attempts = 0
    RETURNING i.id INTO row_id;
    is_new := FOUND;
    IF NOT is_new THEN
        SELECT i.id INTO row_id FROM inbox AS i
        WHERE i.channel_id = p_channel AND i.key = p_key;
    END IF;
END
$f$;

-- ``DurableStore.claim_inbox``. The first pending row of a sender serialises: who claims any
-- row of theirs holds its lock, and skips senders somebody else is at.
CREATE FUNCTION roomkit_claim_inbox(
    p_owner text, p_channels text[], p_limit integer, p_per_sender integer
) RETURNS TABLE (
    id text, channel_id text, sender_id text, key text, payload text, attempts integer
) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $f$
#variable_conflict use_column
DECLARE
    heads text[];
    mine text[];
BEGIN
    heads := ARRAY(SELECT o.id FROM roomkit_open_senders(p_channels, p_limit) AS o);
    SELECT array_agg(h.id) INTO heads FROM (
        SELECT i.id FROM inbox AS i
        WHERE i.id = ANY (heads) AND i.status || '' = 'pending'
            AND i.next_at <= clock_timestamp()
        ORDER BY i.seq FOR NO KEY UPDATE SKIP LOCKED
    ) AS h;
    IF heads IS NULL THEN
        RETURN;
    END IF;
    WITH sender AS MATERIALIZED (
        SELECT i.channel_id, i.sender_id, i.seq FROM inbox AS i
        WHERE i.id = ANY (heads) AND i.status || '' = 'pending'
            AND i.next_at <= clock_timestamp() AND NOT roomkit_alive(i.owner)
            AND NOT EXISTS (
                SELECT 1 FROM inbox AS e
                WHERE e.channel_id = i.channel_id AND e.sender_id = i.sender_id
                    AND e.status = 'pending' AND e.seq < i.seq OFFSET 0)
    ), nth AS MATERIALIZED (
        SELECT r.id, r.seq, sender.seq AS first, bool_and(r.next_at <= clock_timestamp()
            AND (r.owner IS NULL OR NOT roomkit_alive(r.owner)))
            OVER (PARTITION BY sender.seq ORDER BY r.seq) AS open
        FROM sender, LATERAL (
            SELECT i.id, i.seq, i.owner, i.next_at FROM inbox AS i
            WHERE i.channel_id = sender.channel_id AND i.sender_id = sender.sender_id
                AND i.status = 'pending'
            ORDER BY i.seq LIMIT p_per_sender
        ) AS r
    )
    SELECT array_agg(nth.id ORDER BY nth.first, nth.seq) INTO mine FROM nth WHERE nth.open;
    UPDATE inbox AS i SET owner = p_owner WHERE i.id = ANY (mine);
    RETURN QUERY
    SELECT m.id, m.channel_id, m.sender_id, m.key, m.payload, m.attempts
    FROM unnest(mine) WITH ORDINALITY AS o(id, n), LATERAL (
        SELECT i.* FROM inbox AS i WHERE i.id = o.id OFFSET 0
    ) AS m
    ORDER BY o.n;
    -- What a dead worker held beyond that is nobody's now: it must not finish it any more.
    UPDATE inbox AS i SET owner = NULL
    FROM (SELECT h.channel_id, h.sender_id FROM inbox AS h
          WHERE h.id = ANY (heads) AND h.owner || '' = p_owner) AS sender
    WHERE i.channel_id = sender.channel_id AND i.sender_id = sender.sender_id
        AND i.status = 'pending' AND i.owner IS NOT NULL AND i.owner <> p_owner
        AND NOT roomkit_alive(i.owner);
END
$f$;

-- The first pending row of each sender, where it is due and nobody's; oldest first.
CREATE FUNCTION roomkit_open_senders(p_channels text[], p_limit integer)
RETURNS TABLE (id text) LANGUAGE sql STABLE
AS $f$
    WITH RECURSIVE head AS (
        (SELECT i.* FROM unnest(p_channels) AS c(channel_id), LATERAL (
            SELECT o.id, o.channel_id, o.sender_id, o.seq, o.owner, o.next_at FROM inbox AS o
            WHERE o.channel_id = c.channel_id AND o.status = 'pending'
            ORDER BY o.sender_id, o.seq LIMIT 1) AS i)
        UNION ALL
        SELECT i.* FROM head, LATERAL (
            SELECT o.id, o.channel_id, o.sender_id, o.seq, o.owner, o.next_at FROM inbox AS o
            WHERE o.channel_id = head.channel_id AND o.sender_id > head.sender_id
                AND o.status = 'pending'
            ORDER BY o.sender_id, o.seq LIMIT 1) AS i
    )
    SELECT h.id FROM head AS h
    WHERE h.next_at <= clock_timestamp() AND NOT roomkit_alive(h.owner)
    ORDER BY h.seq LIMIT p_limit
$f$;

-- ``DurableStore.finish_inbox``.
CREATE FUNCTION roomkit_finish_inbox(
    p_owner text, p_id text, p_status text, p_error text, p_retry_in double precision
) RETURNS boolean LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $f$
DECLARE
    ended record;
BEGIN
    UPDATE inbox AS i SET status = p_status, error = p_error,
        attempts = i.attempts + CASE WHEN p_status IN ('pending', 'dead') THEN 1 ELSE 0 END,
        owner = CASE WHEN p_status = 'pending' THEN NULL ELSE i.owner END,
        next_at = CASE WHEN p_status = 'pending' THEN
            clock_timestamp() + coalesce(p_retry_in, 0) * interval '1 second'
            ELSE i.next_at END,
        ended_at = CASE WHEN p_status = 'pending' THEN NULL ELSE clock_timestamp() END
    WHERE i.id = p_id AND i.status = 'pending' AND i.owner = p_owner
    RETURNING i.channel_id, i.sender_id INTO ended;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF p_status = 'pending' THEN
        UPDATE inbox AS i SET owner = NULL
        WHERE i.channel_id = ended.channel_id AND i.sender_id = ended.sender_id
            AND i.status = 'pending' AND i.owner = p_owner;
    END IF;
    RETURN true;
END
$f$;

-- Part of ``DurableStore.purge``: removes up to 5,000 rows and returns how many.
CREATE FUNCTION roomkit_purge_deliveries(p_before timestamptz) RETURNS bigint LANGUAGE sql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $f$
    WITH old AS MATERIALIZED (
        SELECT id FROM deliveries
        WHERE ended_at < p_before AND status IN ('done', 'skipped')
        LIMIT 5000 FOR UPDATE SKIP LOCKED
    ), gone AS (DELETE FROM deliveries AS t USING old WHERE t.id = old.id RETURNING 1)
    SELECT count(*) FROM gone
$f$;

-- Part of ``DurableStore.purge``: removes up to 5,000 rows and returns how many.
CREATE FUNCTION roomkit_purge_inbox(p_before timestamptz) RETURNS bigint LANGUAGE sql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $f$
    WITH old AS MATERIALIZED (
        SELECT id FROM inbox
        WHERE ended_at < p_before AND status IN ('done', 'skipped')
        LIMIT 5000 FOR UPDATE SKIP LOCKED
    ), gone AS (DELETE FROM inbox AS t USING old WHERE t.id = old.id RETURNING 1)
    SELECT count(*) FROM gone
$f$;
