UPDATE runs
SET
    status = ?, reason = ?, started_at = ?, finished_at = ?, due_at = ?, worker_id = ?, seen = ?,
    orphaned = ?, seq = ?
WHERE
    key = ? AND run_id = ? AND seq = ? AND token = ?
    AND status IN ('pending', 'running', 'suspended')
