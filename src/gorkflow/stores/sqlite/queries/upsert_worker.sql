INSERT OR REPLACE INTO workers (worker_id, started_at, seen_at, lease, host, pid, machine)
VALUES (:worker_id, :started_at, :seen_at, :lease, :host, :pid, :machine)
