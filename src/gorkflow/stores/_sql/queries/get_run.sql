SELECT runs.*
FROM summaries AS runs
WHERE runs.run_id = :run_id
