-- Whether an append is in place, and what it would change.
SELECT key, status, reason, started_at, finished_at, due_at, worker_id, seen, orphaned
FROM runs
WHERE
    run_id = ? AND seq = ? AND token = ?
    AND status IN ('pending', 'running', 'suspended')
