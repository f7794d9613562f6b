UPDATE runs
SET
    status = ?, reason = ?, started_at = ?, finished_at = ?, due_at = ?, worker_id = ?, seen = ?,
    seq = ?
WHERE key = ?
