-- The token fences off a worker that was believed dead.
UPDATE runs
SET status = 'cancelled', finished_at = :now, worker_id = NULL, token = token + 1
WHERE key = :key
