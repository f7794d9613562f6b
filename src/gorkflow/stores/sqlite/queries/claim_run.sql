UPDATE runs
SET worker_id = :worker_id, token = token + 1
WHERE key = :key
