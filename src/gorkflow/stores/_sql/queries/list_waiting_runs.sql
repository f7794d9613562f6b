SELECT runs.*
FROM run_waits CROSS JOIN summaries AS runs ON runs.key = run_waits.run
WHERE
    run_waits.signal = :signal
    AND (run_waits.created_at, run_waits.run_id) < (:before_at, :before_id)
    /* and: the filters */
ORDER BY run_waits.created_at DESC, run_waits.run_id DESC
LIMIT :limit
