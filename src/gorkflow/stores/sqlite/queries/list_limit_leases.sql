SELECT worker_id, held, since, asked_at
FROM limit_leases
WHERE name = ?
