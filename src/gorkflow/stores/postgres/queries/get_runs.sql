SELECT runs.*
FROM summaries AS runs
WHERE runs.run_id = ANY(:run_ids)
