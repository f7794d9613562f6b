-- Where an append finds its run.
SELECT runs.key, runs.token, runs.seq
FROM summaries AS runs
WHERE runs.run_id = ? AND runs.status IN ('pending', 'running', 'suspended')
