SELECT 'log line ' || id
FROM log_lines
WHERE run NOT IN (SELECT key FROM runs)
