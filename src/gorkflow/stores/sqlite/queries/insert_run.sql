INSERT INTO runs (
    run_id, workflow_id, workflow_version, fingerprint, status, reason, resource_id, tags,
    created_at, started_at, finished_at, due_at, seq, worker_id, token, priority, exclusive, seen
)
VALUES (
    :run_id, :workflow_id, :workflow_version, :fingerprint, :status, :reason, :resource_id, :tags,
    :created_at, :started_at, :finished_at, :due_at, :seq, :worker_id, :token, :priority,
    :exclusive, :seen
)
ON CONFLICT DO NOTHING
RETURNING key
