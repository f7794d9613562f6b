-- Along the index of owned runs alone.
SELECT queue, COUNT(*)
FROM runs INDEXED BY runs_owned
WHERE worker_id IS NOT NULL AND status IN ('pending', 'running', 'suspended')
GROUP BY queue
