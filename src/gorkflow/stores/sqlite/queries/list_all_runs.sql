SELECT
    runs.key, runs.run_id, runs.workflow_id, runs.workflow_version, runs.fingerprint, runs.status,
    runs.reason, runs.resource_id, runs.tags, runs.created_at, runs.started_at, runs.finished_at,
    runs.due_at, runs.seq, runs.worker_id, runs.token, runs.priority, runs.exclusive, runs.seen,
    runs.orphaned
FROM runs
ORDER BY runs.key
