UPDATE runs
SET wake_at = :at
WHERE key = :key
