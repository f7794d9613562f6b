DELETE FROM events
WHERE run IN (0, :key) AND id < (SELECT MAX(id) FROM events)
