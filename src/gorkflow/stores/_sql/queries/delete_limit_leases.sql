DELETE FROM limit_leases
WHERE worker_id = :worker_id
