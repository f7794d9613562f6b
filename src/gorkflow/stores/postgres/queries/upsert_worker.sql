INSERT INTO workers (worker_id, started_at, seen_at, lease, host, pid, concurrency, queues, slot, server)
VALUES (:worker_id, :started_at, :seen_at, :lease, :host, :pid, :concurrency, :queues, :slot, :server)
ON CONFLICT (worker_id) DO UPDATE
SET
    started_at = excluded.started_at, seen_at = excluded.seen_at, lease = excluded.lease,
    host = excluded.host, pid = excluded.pid, concurrency = excluded.concurrency,
    queues = excluded.queues, slot = excluded.slot, server = excluded.server
