SELECT worker_id, held, since, asked_at, unbegun, let_in_at
FROM limit_leases
WHERE name = :name
