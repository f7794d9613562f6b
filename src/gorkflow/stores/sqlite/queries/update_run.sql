UPDATE runs
SET
    status = ?, reason = ?, started_at = ?, finished_at = ?, due_at = ?, worker_id = ?, seen = ?,
    orphaned = ?, trace = ?, waits_for = ?, hooks = ?, seq = ?
WHERE key = ?
