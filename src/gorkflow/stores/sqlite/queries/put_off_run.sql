UPDATE runs
SET due_at = :due_at
WHERE key = :key
