UPDATE runs
SET
    status = :status, reason = :reason, started_at = :started_at, finished_at = :finished_at,
    due_at = :due_at, seq = :seq, worker_id = :worker_id, seen = :seen
WHERE
    run_id = :run_id AND seq = :expected_seq AND token = :token
    AND status IN ('pending', 'running', 'suspended')
RETURNING key
