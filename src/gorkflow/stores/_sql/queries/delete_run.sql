DELETE FROM runs
WHERE run_id = :run_id AND status NOT IN ('pending', 'running', 'suspended')
RETURNING key, created_at, tags, waits_for
