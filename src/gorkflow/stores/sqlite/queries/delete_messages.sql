DELETE FROM inbox
WHERE run = ?
