-- Where an append finds its run.
SELECT runs.key, runs.token, runs.seq, runs.created_at, runs.waits_for
FROM summaries AS runs
WHERE runs.run_id = ? AND runs.status IN ('pending', 'running', 'suspended')
