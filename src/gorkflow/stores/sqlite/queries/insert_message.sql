INSERT INTO inbox (run, kind, body, at)
SELECT key, :kind, :body, :at
FROM runs
WHERE run_id = :run_id AND status IN ('pending', 'running', 'suspended')
