SELECT 'event ' || seq || ' of run ' || run
FROM events
WHERE NOT EXISTS (SELECT 1 FROM runs WHERE runs.key = events.run)
