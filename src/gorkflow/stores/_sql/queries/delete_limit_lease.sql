DELETE FROM limit_leases
WHERE name = :name AND worker_id = :worker_id
