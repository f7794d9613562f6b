SELECT 'event ' || id
FROM events
WHERE run NOT IN (SELECT key FROM runs)
