-- All of them, also those that are just being written.
WITH free AS MATERIALIZED (
    SELECT key
    FROM runs
    WHERE worker_id = :worker_id AND status IN ('pending', 'running', 'suspended')
    ORDER BY run_id
    FOR NO KEY UPDATE
),
released AS (
    UPDATE runs
    SET
        worker_id = NULL, orphaned = orphaned OR :died,
        wake_at = wake_at(status, NULL, due_at, mailed, seen, line)
    FROM free
    WHERE runs.key = free.key
    RETURNING runs.workflow_id, runs.wake_at
)
SELECT DISTINCT workflow_id
FROM released
WHERE wake_at = 0
