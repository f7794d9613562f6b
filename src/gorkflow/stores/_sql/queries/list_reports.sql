SELECT
    runs.run_id, runs.created_at, reports.path, reports.attempt, reports.done, reports.total,
    reports.message, reports.at
FROM runs CROSS JOIN reports ON reports.run = runs.key
WHERE runs.run_id = :run_id
ORDER BY reports.path
