INSERT INTO workers (worker_id, started_at, seen_at, lease, host, pid, slot, server)
VALUES (:worker_id, :started_at, :seen_at, :lease, :host, :pid, :slot, :server)
ON CONFLICT (worker_id) DO UPDATE
SET
    started_at = excluded.started_at, seen_at = excluded.seen_at, lease = excluded.lease,
    host = excluded.host, pid = excluded.pid, slot = excluded.slot, server = excluded.server
