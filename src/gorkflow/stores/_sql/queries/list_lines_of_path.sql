-- A path has a few thousand lines at most: they are sorted.
SELECT
    runs.run_id, runs.created_at, log_lines.path, log_lines.attempt, log_lines.number, log_lines.at,
    log_lines.level, log_lines.text, log_lines.id
FROM runs CROSS JOIN log_lines INDEXED BY log_lines_by_attempt ON log_lines.run = runs.key
WHERE runs.run_id = :run_id AND log_lines.path = :path AND log_lines.id > :after
ORDER BY log_lines.id
LIMIT :limit
