SELECT worker_id, started_at, seen_at, lease, host, pid, concurrency, queues, machine
FROM workers
WHERE worker_id = :worker_id
