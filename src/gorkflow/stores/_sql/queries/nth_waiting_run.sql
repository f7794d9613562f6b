-- The same, of the runs that wait for a signal.
SELECT run_waits.created_at, run_waits.run_id
FROM run_waits
WHERE
    run_waits.signal = :signal
    AND (run_waits.created_at, run_waits.run_id) < (:before_at, :before_id)
    /* and: the filters */
ORDER BY run_waits.created_at DESC, run_waits.run_id DESC
LIMIT 1 OFFSET :skip
