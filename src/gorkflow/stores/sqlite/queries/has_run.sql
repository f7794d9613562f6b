SELECT 1
FROM runs
WHERE run_id = ?
