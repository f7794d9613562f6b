SELECT key
FROM runs
WHERE run_id = ?
