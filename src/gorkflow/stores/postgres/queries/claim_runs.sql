UPDATE runs
SET worker_id = :worker_id, token = token + 1, wake_at = NULL
WHERE key = ANY(:keys)
