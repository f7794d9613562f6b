DELETE FROM limit_leases
WHERE worker_id = ?
