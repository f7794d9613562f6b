UPDATE runs
SET due_at = ?
WHERE key = ?
