DELETE FROM reports
WHERE run = :key
