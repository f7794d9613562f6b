DELETE FROM reports
USING
    unnest(:run_id, :created_at, :path, :attempt) AS ended (run_id, created_at, path, attempt)
    JOIN runs ON runs.run_id = ended.run_id AND runs.created_at = ended.created_at
WHERE
    reports.run = runs.key AND reports.path = ended.path AND reports.attempt <= ended.attempt
