-- Transitions that change nothing in a summary but `seq`. Rows are locked in one order by all.
WITH item AS MATERIALIZED (
    SELECT *
    FROM unnest(:ord, :run_id, :token, :before, :after) AS item (ord, run_id, token, before, after)
),
locked AS MATERIALIZED (
    SELECT item.ord, item.before, item.after, runs.key
    FROM
        (SELECT * FROM item ORDER BY run_id) AS item
        JOIN LATERAL (
            SELECT key
            FROM runs
            WHERE
                runs.run_id = item.run_id AND runs.seq = item.before AND runs.token = item.token
                AND runs.status IN ('pending', 'running', 'suspended')
            FOR NO KEY UPDATE
        ) AS runs ON TRUE
),
moved AS (
    UPDATE runs
    SET seq = locked.after
    FROM locked
    WHERE runs.key = locked.key
),
-- By its place in the batch: to join them would compare each event with each run.
keys AS MATERIALIZED (
    SELECT jsonb_object_agg(ord::text, key) AS of
    FROM locked
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
    FROM locked
    WHERE after > before
    HAVING count(*) > 0
)
SELECT ord
FROM locked
