INSERT INTO reports (run, path, attempt, done, total, message, at)
SELECT runs.key, report.path, report.attempt, report.done, report.total, report.message, report.at
FROM
    unnest(:run_id, :created_at, :path, :attempt, :done, :total, :message, :at)
        AS report (run_id, created_at, path, attempt, done, total, message, at)
    JOIN runs ON runs.run_id = report.run_id AND runs.created_at = report.created_at
ON CONFLICT (run, path) DO UPDATE
SET
    attempt = excluded.attempt, done = excluded.done, total = excluded.total,
    message = excluded.message, at = excluded.at
WHERE excluded.attempt >= reports.attempt
