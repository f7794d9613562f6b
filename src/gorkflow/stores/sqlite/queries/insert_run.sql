INSERT INTO runs (
    run_id, workflow_id, workflow_version, fingerprint, resource_id, tags, created_at, token,
    priority, exclusive, queue, line, status, reason, started_at, finished_at, due_at, worker_id, seen, orphaned,
    trace, waits_for, hooks, seq
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING
