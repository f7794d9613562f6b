DELETE FROM events
WHERE run IN (0, ?) AND id < (SELECT MAX(id) FROM events)
