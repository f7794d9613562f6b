DELETE FROM events
WHERE run = :key
