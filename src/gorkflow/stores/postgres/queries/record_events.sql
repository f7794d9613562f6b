-- The end of what writes the events of a batch, once it knows the runs that it accepted.
-- By its place in the batch: to join them would compare each event with each run.
keys AS MATERIALIZED (
    SELECT jsonb_object_agg(ord::text, key) AS of
    FROM accepted
),
written AS (
    INSERT INTO events (run, seq, kind, path, at, body, payload)
    SELECT
        (keys.of ->> event.ord::text)::bigint, event.seq, event.kind, event.path, event.at,
        event.body, event.payload
    FROM
        keys
        JOIN unnest(:e_ord, :e_seq, :e_kind, :e_path, :e_at, :e_body, :e_payload)
            AS event (ord, seq, kind, path, at, body, payload)
            ON keys.of ? event.ord::text
),
fed AS (
    INSERT INTO feed (era, tx, runs, firsts, lasts)
    SELECT
        :era, pg_current_xact_id(), array_agg(key ORDER BY ord),
        array_agg(before + 1 ORDER BY ord), array_agg(after ORDER BY ord)
    FROM accepted
    WHERE after > before
    HAVING count(*) > 0
)
SELECT ord
FROM accepted
