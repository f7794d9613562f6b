DELETE FROM events
WHERE run = ?
