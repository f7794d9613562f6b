-- As ``append_events``, of one run: a plan that is a third of the work.
WITH moved AS (
    UPDATE runs
    SET seq = :after
    WHERE
        run_id = :run_id AND seq = :before AND token = :token
        AND status IN ('pending', 'running', 'suspended')
    RETURNING key
),
written AS (
    INSERT INTO events (run, seq, kind, path, at, body, payload)
    SELECT moved.key, event.seq, event.kind, event.path, event.at, event.body, event.payload
    FROM
        moved,
        unnest(:e_seq, :e_kind, :e_path, :e_at, :e_body, :e_payload)
            AS event (seq, kind, path, at, body, payload)
),
fed AS (
    INSERT INTO feed (era, tx, runs, firsts, lasts)
    SELECT
        :era, pg_current_xact_id(), ARRAY[key], ARRAY[:before::integer + 1], ARRAY[:after::integer]
    FROM moved
    WHERE :after::integer > :before::integer
)
SELECT :ord::bigint
FROM moved
