DELETE FROM limit_leases
WHERE name = ? AND worker_id = ?
