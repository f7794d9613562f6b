SELECT runs.*
FROM summaries AS runs
WHERE
    runs.run_id = :run_id AND runs.worker_id IS NULL
    AND runs.status IN ('pending', 'running', 'suspended')
FOR NO KEY UPDATE SKIP LOCKED
