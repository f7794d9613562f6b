SELECT 'event ' || id
FROM events
WHERE run <> 0 AND run NOT IN (SELECT key FROM runs)
