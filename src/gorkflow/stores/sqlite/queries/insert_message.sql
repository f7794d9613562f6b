INSERT INTO inbox (run, kind, body, at, payload)
SELECT key, :kind, :body, :at, :payload
FROM runs
WHERE run_id = :run_id AND status IN ('pending', 'running', 'suspended')
