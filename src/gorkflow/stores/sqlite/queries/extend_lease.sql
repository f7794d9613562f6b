UPDATE workers
SET seen_at = :now
WHERE worker_id = :worker_id AND seen_at + lease >= :now
