-- Where a walk along an index stands after so many runs.
SELECT runs.created_at, runs.run_id
FROM runs
WHERE
    (runs.created_at, runs.run_id) < (:before_at, :before_id)
    /* and: the filters */
ORDER BY runs.created_at DESC, runs.run_id DESC
LIMIT 1 OFFSET :skip
