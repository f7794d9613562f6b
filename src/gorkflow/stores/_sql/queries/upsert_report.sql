INSERT INTO reports (run, path, attempt, done, total, message, at)
SELECT key, :path, :attempt, :done, :total, :message, :at
FROM runs
WHERE run_id = :run_id AND created_at = :created_at
ON CONFLICT (run, path) DO UPDATE
SET
    attempt = excluded.attempt, done = excluded.done, total = excluded.total,
    message = excluded.message, at = excluded.at
WHERE excluded.attempt >= reports.attempt
