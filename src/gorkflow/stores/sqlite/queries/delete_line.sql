DELETE FROM log_lines
WHERE id = ?
