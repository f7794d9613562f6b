-- Transitions that change nothing in a summary but `seq`. Rows are locked in one order by all.
WITH item AS MATERIALIZED (
    SELECT *
    FROM unnest(:ord, :run_id, :token, :before, :after) AS item (ord, run_id, token, before, after)
),
locked AS MATERIALIZED (
    SELECT item.ord, item.before, item.after, runs.key
    FROM item JOIN runs ON runs.run_id = item.run_id
    WHERE
        runs.seq = item.before AND runs.token = item.token
        AND runs.status IN ('pending', 'running', 'suspended')
    ORDER BY runs.run_id
    FOR NO KEY UPDATE OF runs
),
moved AS (
    UPDATE runs
    SET seq = locked.after
    FROM locked
    WHERE runs.key = locked.key
),
written AS (
    INSERT INTO events (run, seq, kind, path, at, body, payload)
    SELECT locked.key, event.seq, event.kind, event.path, event.at, event.body, event.payload
    FROM
        unnest(:e_ord, :e_seq, :e_kind, :e_path, :e_at, :e_body, :e_payload)
            AS event (ord, seq, kind, path, at, body, payload)
        JOIN locked ON locked.ord = event.ord
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
