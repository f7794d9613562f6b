-- The id is given once the run is locked, so that it rises within the run.
WITH locked AS MATERIALIZED (
    SELECT key
    FROM runs
    WHERE run_id = :run_id AND status IN ('pending', 'running', 'suspended')
    FOR NO KEY UPDATE
),
given AS MATERIALIZED (
    SELECT key, nextval('inbox_ids') AS id
    FROM locked
),
mailed AS (
    UPDATE runs
    SET mailed = given.id, wake_at = wake_at(status, worker_id, due_at, given.id, seen, line)
    FROM given
    WHERE runs.key = given.key
    RETURNING runs.workflow_id, runs.worker_id
),
kept AS (
    INSERT INTO inbox (id, tx, run, kind, body, at, payload)
    SELECT id, pg_current_xact_id(), key, :kind, :body, :at::float8, :payload::bytea
    FROM given
)
SELECT workflow_id, worker_id, pg_current_xact_id()::text
FROM mailed
