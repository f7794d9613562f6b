SELECT runs.*
FROM summaries AS runs
ORDER BY runs.key
