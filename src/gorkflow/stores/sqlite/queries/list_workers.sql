SELECT worker_id, started_at, seen_at, lease, host, pid, machine
FROM workers
ORDER BY started_at, worker_id
