UPDATE runs
SET
    status = ?, reason = ?, started_at = ?, finished_at = ?, due_at = ?, worker_id = ?, seen = ?,
    orphaned = ?, trace = ?, seq = ?
WHERE key = ?
