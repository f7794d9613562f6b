INSERT INTO limit_leases (name, worker_id, held, since, asked_at, unbegun, let_in_at)
VALUES (:name, :worker_id, :held, :since, :asked_at, :unbegun, :let_in_at)
ON CONFLICT (name, worker_id) DO UPDATE
SET
    held = excluded.held, since = excluded.since, asked_at = excluded.asked_at,
    unbegun = excluded.unbegun, let_in_at = excluded.let_in_at
