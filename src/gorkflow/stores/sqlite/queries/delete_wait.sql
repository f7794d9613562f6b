DELETE FROM run_waits
WHERE signal = ? AND created_at = ? AND run_id = ?
