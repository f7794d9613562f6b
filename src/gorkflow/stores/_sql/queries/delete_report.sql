DELETE FROM reports
WHERE
    run = (SELECT key FROM runs WHERE run_id = :run_id AND created_at = :created_at)
    AND path = :path AND attempt <= :attempt
