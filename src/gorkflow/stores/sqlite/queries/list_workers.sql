SELECT worker_id, started_at, seen_at, lease, host, pid, concurrency, queues, machine
FROM workers
ORDER BY started_at, worker_id
