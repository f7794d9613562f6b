INSERT INTO log_lines (run, path, attempt, number, at, level, text)
SELECT key, :path, :attempt, :number, :at, :level, :text
FROM runs
WHERE run_id = :run_id AND created_at = :created_at
ON CONFLICT (run, path, attempt, number) DO UPDATE
SET at = excluded.at, level = excluded.level, text = excluded.text
