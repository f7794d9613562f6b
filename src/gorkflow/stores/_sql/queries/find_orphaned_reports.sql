SELECT 'report of ' || path
FROM reports
WHERE run NOT IN (SELECT key FROM runs)
