DELETE FROM log_lines
WHERE run = :key AND id <= :upto
