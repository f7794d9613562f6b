SELECT key
FROM runs
WHERE run_id = ANY(:run_ids)
