-- One short walk along the index for each workflow of each queue. A run that somebody writes to is
-- left to them.
SELECT runs.*
FROM
    unnest(:queues) AS served (queue) JOIN unnest(:workflow_ids) AS known (workflow_id) ON TRUE
    JOIN LATERAL (
    SELECT
        key, run_id, workflow_id, workflow_version, fingerprint, status, reason, resource_id, tags,
        created_at, started_at, finished_at, due_at, seq, worker_id, token, priority, exclusive,
        seen, orphaned, trace, waits_for, hooks, queue, line
    FROM runs
    WHERE
        runs.queue = served.queue AND runs.workflow_id = known.workflow_id AND runs.wake_at = 0
    ORDER BY runs.priority DESC, runs.created_at, runs.run_id
    LIMIT :limit
    FOR NO KEY UPDATE SKIP LOCKED
) AS runs ON TRUE
ORDER BY runs.priority DESC, runs.created_at, runs.run_id
LIMIT :limit
