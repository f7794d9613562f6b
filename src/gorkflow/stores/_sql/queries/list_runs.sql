SELECT runs.*
FROM summaries AS runs
WHERE
    (runs.created_at, runs.run_id) < (:before_at, :before_id)
    /* and: the filters */
ORDER BY runs.created_at DESC, runs.run_id DESC
LIMIT :limit
