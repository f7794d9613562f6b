INSERT OR REPLACE INTO limit_leases (name, worker_id, held, since, asked_at, unbegun, let_in_at)
VALUES (?, ?, ?, ?, ?, ?, ?)
