SELECT run_id
FROM runs
WHERE run_id = ANY(:run_ids)
