SELECT 'message ' || id
FROM inbox
WHERE run NOT IN (SELECT key FROM runs)
