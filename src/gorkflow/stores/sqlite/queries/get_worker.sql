SELECT worker_id, started_at, seen_at, lease, host, pid, machine
FROM workers
WHERE worker_id = :worker_id
