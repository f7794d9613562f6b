INSERT INTO log_lines (run, path, attempt, number, at, level, text)
SELECT runs.key, line.path, line.attempt, line.number, line.at, line.level, line.text
FROM
    unnest(:run_id, :created_at, :path, :attempt, :number, :at, :level, :text) WITH ORDINALITY
        AS line (run_id, created_at, path, attempt, number, at, level, text, ord)
    JOIN runs ON runs.run_id = line.run_id AND runs.created_at = line.created_at
ORDER BY line.ord
ON CONFLICT (run, path, attempt, number) DO UPDATE
SET at = excluded.at, level = excluded.level, text = excluded.text
