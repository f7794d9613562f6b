-- The token fences off a worker that was believed dead.
UPDATE runs
SET
    status = 'cancelled', finished_at = :now, worker_id = NULL, token = token + 1, wake_at = NULL
WHERE key = :key
