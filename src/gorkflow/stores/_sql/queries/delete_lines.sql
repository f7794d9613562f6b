DELETE FROM log_lines
WHERE run = :key
