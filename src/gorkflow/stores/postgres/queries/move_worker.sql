-- Its session broke, and has a successor.
UPDATE workers
SET slot = :slot, server = :server
WHERE worker_id = :worker_id
