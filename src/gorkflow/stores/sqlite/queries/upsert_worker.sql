INSERT OR REPLACE INTO workers (worker_id, started_at, seen_at, lease, host, pid, concurrency, queues, machine)
VALUES (:worker_id, :started_at, :seen_at, :lease, :host, :pid, :concurrency, :queues, :machine)
