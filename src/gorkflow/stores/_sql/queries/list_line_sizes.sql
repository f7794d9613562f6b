SELECT runs.key, log_lines.id, LENGTH(log_lines.text)
FROM runs CROSS JOIN log_lines INDEXED BY log_lines_by_run ON log_lines.run = runs.key
WHERE runs.run_id = :run_id AND runs.status NOT IN ('pending', 'running', 'suspended')
ORDER BY log_lines.id
LIMIT :limit
