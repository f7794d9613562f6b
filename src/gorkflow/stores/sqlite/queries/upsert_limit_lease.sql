INSERT OR REPLACE INTO limit_leases (name, worker_id, held, since, asked_at)
VALUES (?, ?, ?, ?, ?)
